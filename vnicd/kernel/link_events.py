"""News of interfaces and addresses: a netlink socket that becomes readable when any of them changes."""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100


def open_watch() -> socket.socket:
    """A socket that hears of every change in the calling thread's namespace from now on."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
    except OSError:
        sock.close()
        raise
    return sock


SIOCETHTOOL, ETHTOOL_GLINK = 0x8946, 0x0A


def has_link(nic: str) -> bool | None:
    """Whether the NIC has a carrier right now, None when there is no such NIC.

    The kernel puts off the news of a lost carrier for up to a second; this costs microseconds.
    """
    value = array.array("I", (ETHTOOL_GLINK, 0))
    request = struct.pack("16sP16x", nic.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, SIOCETHTOOL, request)
        except OSError:
            return None
    return bool(value[1])


def drain(sock: socket.socket) -> bool:
    """Take all there is to read; whether there was any news. What it was must be looked up."""
    news = False
    while True:
        try:
            sock.recv(1 << 16)
        except BlockingIOError:
            return news
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more news than the socket could hold
                raise
        news = True
