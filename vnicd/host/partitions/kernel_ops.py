"""Kernel operations: what the planner's actions do to this machine. Blocking; run in the kernel thread."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from vnicd.errors import EXHAUSTED, Busy, Exists, Invalid, NoNamespace
from vnicd.host.partitions.attached import tenants
from vnicd.host.ports.port import Following, Location
from vnicd.kernel import interface, netns, readdress, tap, vnic
from vnicd.kernel.netns import Home
from vnicd.kernel.sockets import tcp
from vnicd.packet import announcement
from vnicd.spec.addresses import host
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.plan import Actual

T = TypeVar("T")

LOOPBACK = "lo"


@contextmanager
def reach(place: Location) -> Iterator[str]:
    """A path to the namespace of a partition, which lasts as long as the context; NoNamespace when it is no more.

    A namespace of ours is the one that has its name. One of somebody else is known by its identity: its interface
    leads there, or the path that it was given by, or a process in it, or another name of it. OSError when there is no
    descriptor to look with.
    """
    if place.spec.owns_netns:
        yield place.spec.netns_path
        return
    fd = _hold(place)
    if fd is None:
        raise NoNamespace(f"the namespace of partition {place.spec.name} is gone")
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _hold(place: Location) -> int | None:
    try:
        if place.tap >= 0:
            return tap.namespace(place.tap)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise  # the interface is there, for all that we know
    found = netns.hold(place.spec.netns_path, place.home)
    if found is None and place.home is not None:
        paths = tenants.paths(place.home.identity)
        found = next((fd for path in paths if (fd := netns.hold(path, place.home)) is not None), None)
    return found


def inside(place: Location, work: Callable[[], T]) -> T:
    """The result of `work` done in the namespace of a partition; NoNamespace when that is no more."""
    with reach(place) as path:
        return netns.inside(path, work)


def observe(place: Location, daemon: bool) -> Actual:
    """What there is of a partition; NoNamespace when that of somebody else is no more."""
    spec = place.spec
    if not spec.owns_netns:
        with reach(place) as path:
            return Actual(spec, namespace=True, interface=tap.is_in(place.tap, path), daemon=daemon)
    namespace = netns.exists(spec.netns_path)
    held = namespace and place.tap >= 0 and tap.is_in(place.tap, spec.netns_path)
    return Actual(spec, namespace=namespace, interface=held, daemon=daemon)


def leftover(place: Location) -> Actual:
    """What there is of a partition that is to go; its interface counts also when nobody serves it any more."""
    spec = place.spec
    named = spec.owns_netns and Path(spec.netns_path).exists()  # a name may be left without a namespace
    try:
        there = inside(place, lambda: _interface_name(place)) is not None
    except NoNamespace:
        return Actual(spec, namespace=named)
    return Actual(spec, namespace=True, interface=there)


def abort_connections(place: Location) -> None:
    """End the partition's TCP connections, if the interface is there that they go by."""
    with suppress(NoNamespace), reach(place) as path:
        if place.spec.owns_netns or tap.is_in(place.tap, path):
            tcp.abort(path, place.spec.addresses)


def _interface_name(place: Location) -> str | None:
    """What the interface is called by now: it may have been renamed from outside."""
    name = tap.name_of(place.tap) or place.spec.ifname
    return name if interface.index_of(name) is not None else None


def check_free(spec: PartitionSpec) -> Home | None:
    """Exists, NoNamespace, Invalid or Busy when something stands where the partition is to be made.

    Else what the namespace is known by, if it is somebody else's.
    """
    if spec.owns_netns:
        _check_no_namespace(spec)
        return None
    home = netns.home(spec.netns_path)
    # One that is handed over is only made there; any other would take addresses, routes and names of the machine's.
    if home.identity == netns.identity(netns.OWN) and not spec.handover:
        hint = "name that of a container or process; the machine's own interface is the uplink's"
        raise Invalid(
            f"{spec.netns_path} is the machine's own namespace, where the hosting daemon runs", hint
        )
    place = Location(spec, home=home)
    if inside(place, lambda: interface.index_of(spec.ifname)) is not None:
        raise interface_taken(spec)
    return home


def _check_no_namespace(spec: PartitionSpec) -> None:
    name = Path(spec.netns_path).name
    if netns.exists(spec.netns_path):
        raise Exists(f"a namespace named {name} exists already", f"attach to it with: --netns {name}")
    if os.path.lexists(spec.netns_path):
        raise Exists(f"{spec.netns_path} exists and is no namespace", "remove it, or choose another name")


def interface_taken(spec: PartitionSpec) -> Busy:
    return Busy(f"an interface named {spec.ifname} is in {spec.netns_path} already", "use another --ifname")


def mark(root: Path, name: str) -> str:
    """What the interfaces of a namespace that vnicd has made for a partition bear as their alias.

    It is in the namespace itself: it goes when that does, whatever becomes of our files, and nobody's new namespace
    of the same name has it.
    """
    place = os.fsencode(os.path.realpath(root)).decode(errors="backslashreplace")
    return f"vnicd:{place}:{name}"


def is_marked(name: str, sign: str) -> bool:
    """Whether the namespace of this name was made with this mark."""
    try:
        return LOOPBACK in netns.inside(str(netns.NETNS_DIR / name), lambda: interface.with_alias(sign))
    except (NoNamespace, OSError):
        return False


def delete_marked(name: str, sign: str) -> None:
    """Take away a namespace that was made with this mark: its name, and its interface for those who are in it."""

    def work() -> None:
        for ifname in interface.with_alias(sign):
            if ifname != LOOPBACK:
                interface.delete(ifname)

    path = str(netns.NETNS_DIR / name)
    netns.inside(path, work)
    netns.delete(path)


def make_namespace(spec: PartitionSpec, sign: str, adopt: bool) -> None:
    """One of ours. With `adopt` the partition is not new, and a name that leads nowhere is its own."""
    if adopt and not netns.exists(spec.netns_path):
        netns.delete(spec.netns_path)  # it was unmounted, and the file is left
    _check_no_namespace(spec)
    netns.create(spec.netns_path, lambda: interface.set_alias(LOOPBACK, sign))


def make_interface(place: Location, mtu: int, adopt: bool, sign: str, nursery: Callable[[], int]) -> int:
    """The fd of the partition's TAP, configured; an interface that is there already is only taken if `adopt`.

    In a namespace of ours it is marked with `sign` as that is. Of somebody else's nothing is held: the TAP is made in
    the namespace behind the descriptor `nursery()`, and one that is there already is made anew. One that is to be
    handed over gets its addresses from who takes it.
    """
    spec = place.spec

    def clear() -> None:
        if interface.index_of(spec.ifname) is None:
            return
        if not adopt:
            raise interface_taken(spec)
        tap.let_go(tap.open_tap(spec.ifname))

    def configure() -> None:
        if place.is_under_way:
            interface.prepare(spec.ifname, spec.mac, mtu)
            return
        interface.configure(spec.ifname, spec.mac, mtu, spec.addresses, loopback=spec.owns_netns)
        vnic.add_default_routes(spec.ifname, spec.gateways, spec.addresses)
        vnic.add_routes(spec.ifname, spec.routes)
        if spec.owns_netns:
            interface.set_alias(spec.ifname, sign)

    def configured(fd: int, work: Callable[[], None]) -> int:
        try:
            work()
        except BaseException:
            tap.let_go(fd)  # not by its name: that takes descriptors, of which there may be too few
            raise
        return fd

    def here() -> int:
        if not adopt and interface.index_of(spec.ifname) is not None:
            raise interface_taken(spec)
        return configured(tap.open_tap(spec.ifname), configure)

    with reach(place) as path:
        if spec.owns_netns:
            return netns.inside(path, here)
        netns.inside(path, clear)
        fd = tap.open_tap_away(spec.ifname, nursery(), path)
        return configured(fd, lambda: netns.inside(path, configure))


def follow(place: Location, wanted: Following, have: Following | None) -> None:
    """Change what a partition's interface takes over, wherever it is and whatever it is called by now."""
    if have is None or wanted.carrier != have.carrier:
        vnic.set_carrier(place.tap, wanted.carrier)

    def work() -> None:
        name = _interface_name(place)
        if name is not None:
            vnic.set_mtu(name, wanted.mtu)
            interface.set_autoconf(name, wanted.autoconf)

    if have is None or (wanted.mtu, wanted.autoconf) != (have.mtu, have.autoconf):
        inside(place, work)


def reconfigure(old: PartitionSpec, place: Location, wanted: Following, have: Following | None) -> None:
    """Give a partition's interface what its spec says instead of `old`; nothing to do while there is none."""
    new = place.spec

    def work() -> None:
        name = _interface_name(place)
        if name is not None:
            readdress.change(name, old.addresses, new.addresses)
            vnic.add_default_routes(name, new.gateways, new.addresses)
            readdress.drop_default_routes(name, set(old.gateways) - set(new.gateways))
            vnic.add_routes(name, new.routes)
            readdress.drop_routes(name, set(old.routes) - set(new.routes))

    with suppress(NoNamespace):
        follow(place, wanted, have)
        inside(place, work)


def announce_addresses(place: Location, addresses: Iterable[str]) -> None:
    """Tell the neighbours that these addresses are this partition's: somebody else may have had them."""

    def work() -> None:
        name = _interface_name(place)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            for text in addresses if name is not None else ():
                sock.sendto(announcement.frame(place.spec.mac, host(text)), (name, 0))

    try:
        inside(place, work)
    except (NoNamespace, OSError, UnicodeEncodeError):
        pass  # the namespace is gone, the interface is down, or Python can't say its name: nobody hears it


def delete_interface(place: Location) -> None:
    def work() -> None:
        name = _interface_name(place)
        if name is not None:
            interface.delete(name)

    with suppress(NoNamespace):
        inside(place, work)


def delete_namespace(spec: PartitionSpec) -> None:
    netns.delete(spec.netns_path)
