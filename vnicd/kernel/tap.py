"""TAP devices: creation with python-pytun and the offloads that let super-frames through whole."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

import pytun
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vnicd.errors import EXHAUSTED, Busy, Unsupported
from vnicd.kernel import netns
from vnicd.kernel.interface import index_of

TUNSETPERSIST = 0x400454CB
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
TUNGETIFF = 0x800454D2
TUNGETDEVNETNS = 0x54E3

# Debian 12's linux/if_tun.h lacks the last two.
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 0x01, 0x02, 0x04, 0x08
TUN_F_USO4, TUN_F_USO6 = 0x20, 0x40

VNET_HEADER = 10
"""Bytes of the virtio_net_hdr before each frame (VN_VNET_HDR in cext/abi/link_layout.h)."""


def open_tap(ifname: str, persist: bool = True) -> int:
    """A non-blocking fd of the TAP `ifname` in the calling thread's namespace; made if it is not there.

    The device persists when the fd is closed, so its addresses and routes outlive every daemon; without `persist` it
    goes with its last fd. Busy when another process serves it.
    """
    try:
        tap = pytun.TunTapDevice(name=ifname, flags=pytun.IFF_TAP | pytun.IFF_NO_PI | pytun.IFF_VNET_HDR)
    except pytun.Error as error:
        number = error.args[0] if error.args else 0
        if number in (errno.EBUSY, errno.EINVAL):
            raise Busy(
                f"the interface {ifname} exists already and is not free", "use another --ifname"
            ) from error
        raise Unsupported(f"no TAP device can be made: {error.args[-1]}", "see: vnicctl doctor") from error
    fd = os.dup(tap.fileno())
    try:
        fcntl.ioctl(fd, TUNSETPERSIST, int(persist))
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER))
        set_offloads(fd)
        os.set_blocking(fd, False)
    except OSError:
        os.close(fd)
        raise
    return fd


def open_tap_away(ifname: str, nursery: int, target: str) -> int:
    """As open_tap, in the namespace at `target`, but the fd does not keep that namespace alive; always a new TAP.

    A TAP's fd keeps the namespace alive that it was opened in, not the one that its device is in. So it is opened in
    a namespace of our own, `nursery`, and moved. When the target ends, the device ends with it.
    Busy when an interface of that name is in the target.
    """
    place = os.open(target, os.O_RDONLY | os.O_CLOEXEC)

    def make() -> int:
        fd = open_tap(ifname)
        try:
            with IPRoute() as route:
                route.link("set", index=index_of(ifname), net_ns_fd=place)
        except NetlinkError as error:
            let_go(fd)
            if error.code == errno.EEXIST:
                raise Busy(
                    f"an interface named {ifname} is in {target} already", "use another --ifname"
                ) from error
            raise Unsupported(f"the interface can't be moved to {target}: {error.args[-1]}") from error
        except BaseException:
            let_go(fd)
            raise
        return fd

    try:
        return netns.inside(f"/proc/self/fd/{nursery}", make)
    finally:
        os.close(place)


def set_offloads(fd: int) -> None:
    """Let the kernel hand us partial checksums and super-frames; UDP ones where it can (Linux 6.2)."""
    flags = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN
    try:
        fcntl.ioctl(fd, TUNSETOFFLOAD, flags | TUN_F_USO4 | TUN_F_USO6)
    except OSError:
        fcntl.ioctl(fd, TUNSETOFFLOAD, flags)


def name_of(fd: int) -> str:
    """The present name of the device behind the fd, empty when there is none (any more)."""
    if fd < 0:
        return ""
    try:
        request = fcntl.ioctl(fd, TUNGETIFF, bytes(40))
    except OSError:
        return ""
    return os.fsdecode(request[:16].rstrip(b"\0"))  # the partition's root may have given it any bytes


def is_tap(fd: int) -> bool:
    """Whether the fd, which a stranger may have sent, is of a TAP at all; it may have lost its device.

    Each call on the fd itself is answered by whoever has made such a file, as late as he likes (FUSE). So the kernel is
    asked, and only about what has a path (any, as seen from another mount namespace): to tell all about an epoll or a
    fanotify group, which have none, takes it as long as others have put into them.
    """
    try:
        if not str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("/"):
            return False
        with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
            return any(line.startswith(b"iff:") for line in info)
    except OSError:
        return False


def is_alive(fd: int) -> bool:
    """Whether the device behind the fd still exists; there is none behind -1."""
    return bool(name_of(fd))


def let_go(fd: int) -> None:
    """Close the fd; the device goes with it, also where no path leads to its namespace any more."""
    try:
        fcntl.ioctl(fd, TUNSETPERSIST, 0)
    except OSError:
        pass  # it is gone already
    os.close(fd)


def namespace(fd: int) -> int:
    """An fd of the namespace that the device behind the fd is in; OSError when there is no device."""
    return fcntl.ioctl(fd, TUNGETDEVNETNS)


def whereabouts(fd: int) -> netns.Identity | None:
    """Which namespace the device behind the fd is in; None when there is no device (any more), as behind -1.

    OSError when there is no descriptor to ask with.
    """
    if fd < 0:
        return None
    try:
        found = namespace(fd)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return None
    try:
        return netns.identity(found)
    finally:
        os.close(found)


def is_at_home(fd: int, home: netns.Home) -> bool:
    """Whether the device behind the fd exists and is in the namespace that is known so; OSError as above."""
    return whereabouts(fd) == home.identity


def is_in(fd: int, netns_path: str) -> bool:
    """Whether the device behind the fd exists and is in the namespace at `netns_path`; OSError as for whereabouts()."""
    where = whereabouts(fd)
    return where is not None and where == netns.identity(netns_path)
