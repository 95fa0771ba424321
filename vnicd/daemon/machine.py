"""The hands of the planner: carries out its actions on this machine. Blocking; run in the kernel thread."""

from __future__ import annotations

import os
from pathlib import Path

from vnicd.errors import Busy, Exists, VnicdError
from vnicd.kernel import interface, netns, tap
from vnicd.model import PartitionSpec
from vnicd.plan import Actual


def observe(spec: PartitionSpec, tap_fd: int, daemon: bool) -> Actual:
    """What there is of a partition whose TAP we hold as `tap_fd` (-1 for none)."""
    namespace = netns.exists(spec.netns_path)
    held = tap_fd >= 0 and tap.is_alive(tap_fd)
    return Actual(spec, namespace=namespace, interface=namespace and held, daemon=daemon)


def leftover(spec: PartitionSpec) -> Actual:
    """What there is of a partition that nobody serves; its interface counts if it exists."""
    namespace = netns.exists(spec.netns_path)
    there = namespace and netns.inside(spec.netns_path, lambda: interface.index_of(spec.ifname)) is not None
    return Actual(spec, namespace=namespace, interface=there)


def make_namespace(spec: PartitionSpec) -> None:
    path = Path(spec.netns_path)
    if path.exists() and netns.exists(spec.netns_path):
        raise Exists(
            f"a namespace named {path.name} exists already", f"attach to it with: --netns {path.name}"
        )
    path.unlink(missing_ok=True)
    netns.create(spec.netns_path)


def make_interface(spec: PartitionSpec, adopt: bool) -> int:
    """The fd of the partition's TAP, configured; an interface that is there already is only taken if `adopt`."""

    def work() -> int:
        if not adopt and interface.index_of(spec.ifname) is not None:
            raise Busy(
                f"an interface named {spec.ifname} is in {spec.netns_path} already", "use another --ifname"
            )
        fd = tap.open_tap(spec.ifname)
        try:
            interface.configure(spec.ifname, spec.mac, spec.mtu, spec.addresses, loopback=spec.owns_netns)
        except (VnicdError, OSError):
            interface.delete(spec.ifname)
            os.close(fd)
            raise
        return fd

    return netns.inside(spec.netns_path, work)


def delete_interface(spec: PartitionSpec) -> None:
    if netns.exists(spec.netns_path):
        netns.inside(spec.netns_path, lambda: interface.delete(spec.ifname))


def delete_namespace(spec: PartitionSpec) -> None:
    netns.delete(spec.netns_path)
