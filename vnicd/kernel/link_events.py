"""News of interfaces, addresses, forwarding and lost routes: a netlink socket that is readable when there is any."""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x40, 0x400
RTMGRP_IPV4_NETCONF, RTMGRP_IPV6_NETCONF = 1 << 23, 1 << 24
GROUPS = (
    RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_NETCONF | RTMGRP_IPV6_NETCONF
)  # fmt: skip

RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTPROT_KERNEL, RTPROT_OURS = 2, 76
TYPE_AT, PROTOCOL_AT = 4, 21
"""Where a message has its type, and one about a route the route's protocol."""

LOAD_BYTE, JUMP_IF_EQUAL, RETURN = 0x30, 0x15, 0x06
SO_ATTACH_FILTER = 26
ALL, NOTHING = 0xFFFFFFFF, 0

MOST_AT_ONCE = 500
"""Messages that are read in one go; whoever changes thousands of addresses must not keep us from other work."""


def open_watch() -> socket.socket:
    """A socket that hears of every change in the calling thread's namespace from now on."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        _leave_out_routes(sock)
        sock.bind((0, GROUPS))
    except OSError:
        sock.close()
        raise
    return sock


def _leave_out_routes(sock: socket.socket) -> None:
    """Of routes hear only that one of a kind that port 0 has is lost: routers have a million that come and go."""
    program = (
        (LOAD_BYTE, 0, 0, TYPE_AT),
        (JUMP_IF_EQUAL, 5, 0, RTM_NEWROUTE),
        (JUMP_IF_EQUAL, 0, 3, RTM_DELROUTE),
        (LOAD_BYTE, 0, 0, PROTOCOL_AT),
        (JUMP_IF_EQUAL, 1, 0, RTPROT_OURS),
        (JUMP_IF_EQUAL, 0, 1, RTPROT_KERNEL),
        (RETURN, 0, 0, ALL),
        (RETURN, 0, 0, NOTHING),
    )
    code = array.array("B", b"".join(struct.pack("HBBI", *each) for each in program))
    words = struct.pack("HP", len(program), code.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, words)


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
    """Take what there is to read; whether there was any news. What it was must be looked up."""
    news = False
    for _ in range(MOST_AT_ONCE):
        try:
            sock.recv(1 << 16)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more news than the socket could hold
                raise
        news = True
    return news
