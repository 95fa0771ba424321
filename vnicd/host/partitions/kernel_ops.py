"""Kernel operations: what the planner's actions do to this machine. Blocking; run in the kernel thread."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from vnicd.errors import Busy, Exists, NoNamespace, VnicdError
from vnicd.host.ports.port import Following
from vnicd.kernel import interface, netns, readdress, tap, vnic
from vnicd.packet import announcement
from vnicd.spec.addresses import host
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.plan import Actual

LOOPBACK = "lo"


def observe(spec: PartitionSpec, tap_fd: int, daemon: bool) -> Actual:
    """What there is of a partition whose TAP we hold as `tap_fd` (-1 for none)."""
    namespace = netns.exists(spec.netns_path)
    held = namespace and tap_fd >= 0 and tap.is_in(tap_fd, spec.netns_path)
    return Actual(spec, namespace=namespace, interface=held, daemon=daemon)


def leftover(spec: PartitionSpec, tap_fd: int) -> Actual:
    """What there is of a partition that is to go; its interface counts also when nobody serves it any more."""
    entered = netns.exists(spec.netns_path)
    named = spec.owns_netns and Path(spec.netns_path).exists()  # a name may be left without a namespace
    there = entered and netns.inside(spec.netns_path, lambda: _interface_name(spec, tap_fd)) is not None
    return Actual(spec, namespace=entered or named, interface=there)


def _interface_name(spec: PartitionSpec, tap_fd: int) -> str | None:
    """What the interface is called by now: it may have been renamed from outside."""
    name = tap.name_of(tap_fd) or spec.ifname
    return name if interface.index_of(name) is not None else None


def check_free(spec: PartitionSpec) -> None:
    """Exists, NoNamespace or Busy when something stands where the partition is to be made."""
    if spec.owns_netns:
        _check_no_namespace(spec)
    elif netns.inside(spec.netns_path, lambda: interface.index_of(spec.ifname)) is not None:
        raise _interface_taken(spec)


def _check_no_namespace(spec: PartitionSpec) -> None:
    name = Path(spec.netns_path).name
    if netns.exists(spec.netns_path):
        raise Exists(f"a namespace named {name} exists already", f"attach to it with: --netns {name}")
    if Path(spec.netns_path).exists():
        raise Exists(f"{spec.netns_path} exists and is no namespace", "remove it, or choose another name")


def _interface_taken(spec: PartitionSpec) -> Busy:
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


def make_namespace(spec: PartitionSpec, sign: str) -> None:
    _check_no_namespace(spec)
    netns.create(spec.netns_path, lambda: interface.set_alias(LOOPBACK, sign))


def make_interface(spec: PartitionSpec, mtu: int, adopt: bool, sign: str) -> int:
    """The fd of the partition's TAP, configured; an interface that is there already is only taken if `adopt`.

    In a namespace of ours it is marked with `sign` as that is.
    """

    def work() -> int:
        if not adopt and interface.index_of(spec.ifname) is not None:
            raise _interface_taken(spec)
        fd = tap.open_tap(spec.ifname)
        try:
            interface.configure(spec.ifname, spec.mac, mtu, spec.addresses, loopback=spec.owns_netns)
            vnic.add_default_routes(spec.ifname, spec.gateways, spec.addresses)
            if spec.owns_netns:
                interface.set_alias(spec.ifname, sign)
        except (VnicdError, OSError):
            interface.delete(spec.ifname)
            os.close(fd)
            raise
        return fd

    return netns.inside(spec.netns_path, work)


def follow(spec: PartitionSpec, tap_fd: int, wanted: Following, have: Following | None) -> None:
    """Change what a partition's interface takes over, wherever it is and whatever it is called by now."""
    if have is None or wanted.carrier != have.carrier:
        vnic.set_carrier(tap_fd, wanted.carrier)

    def work() -> None:
        name = _interface_name(spec, tap_fd)
        if name is not None:
            vnic.set_mtu(name, wanted.mtu)
            interface.set_autoconf(name, wanted.autoconf)

    if have is None or (wanted.mtu, wanted.autoconf) != (have.mtu, have.autoconf):
        netns.inside(spec.netns_path, work)


def reconfigure(
    old: PartitionSpec, new: PartitionSpec, tap_fd: int, wanted: Following, have: Following | None
) -> None:
    """Give a partition's interface what `new` says instead of `old`; nothing to do while there is none."""

    def work() -> None:
        name = _interface_name(new, tap_fd)
        if name is not None:
            readdress.change(name, old.addresses, new.addresses)
            vnic.add_default_routes(name, new.gateways, new.addresses)
            readdress.drop_default_routes(name, set(old.gateways) - set(new.gateways))

    if netns.exists(new.netns_path):
        follow(new, tap_fd, wanted, have)
        netns.inside(new.netns_path, work)


def announce_addresses(spec: PartitionSpec, addresses: Iterable[str], tap_fd: int) -> None:
    """Tell the neighbours that these addresses are this partition's: somebody else may have had them."""

    def work() -> None:
        name = _interface_name(spec, tap_fd)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            for text in addresses if name is not None else ():
                sock.sendto(announcement.frame(spec.mac, host(text)), (name, 0))

    try:
        netns.inside(spec.netns_path, work)
    except (NoNamespace, OSError, UnicodeEncodeError):
        pass  # the namespace is gone, the interface is down, or Python can't say its name: nobody hears it


def is_up(spec: PartitionSpec, tap_fd: int) -> bool:
    """Whether a partition's interface is set up."""

    def work() -> bool:
        name = _interface_name(spec, tap_fd)
        return name is not None and interface.is_up(name)

    return netns.inside(spec.netns_path, work)


def delete_interface(spec: PartitionSpec, tap_fd: int) -> None:
    def work() -> None:
        name = _interface_name(spec, tap_fd)
        if name is not None:
            interface.delete(name)

    if netns.exists(spec.netns_path):
        netns.inside(spec.netns_path, work)


def delete_namespace(spec: PartitionSpec) -> None:
    netns.delete(spec.netns_path)
