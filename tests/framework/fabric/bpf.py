"""BPF programs that drop each packet, attached to an interface of the calling thread's namespace."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from pyroute2 import IPRoute

SYSCALL = {"x86_64": 321, "aarch64": 280}
PROG_LOAD = 5
SCHED_CLS, XDP = 3, 6
TC_SHOT, XDP_DROP = 2, 1
EGRESS = 0xFFFFFFF3

_libc = ctypes.CDLL(None, use_errno=True)


def _load(kind: int, verdict: int) -> int:
    """The descriptor of a program that returns `verdict`; OSError when the kernel refuses."""
    # r0 = verdict; exit
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, verdict, 0x95, 0, 0, 0), 16)
    license_ = ctypes.create_string_buffer(b"GPL")
    words = struct.pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(license_)).ljust(
        120, b"\0"
    )
    fd: int = _libc.syscall(SYSCALL[platform.machine()], PROG_LOAD, words, len(words))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def attach_xdp(ifname: str) -> None:
    fd = _load(XDP, XDP_DROP)
    with IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname=ifname)[0], xdp_fd=fd)
    os.close(fd)


def detach_xdp(ifname: str) -> None:
    with IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname=ifname)[0], xdp_fd=-1)


def filter_egress(ifname: str) -> None:
    """`tc qdisc del dev IFNAME clsact` takes it away."""
    fd = _load(SCHED_CLS, TC_SHOT)
    with IPRoute() as route:
        index = route.link_lookup(ifname=ifname)[0]
        route.tc("add", "clsact", index=index)
        route.tc("add-filter", "bpf", index=index, handle=1, fd=fd, name="drop", parent=EGRESS,
                 direct_action=True, classid=1)  # fmt: skip
    os.close(fd)
