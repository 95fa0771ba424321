"""What an interface has right now: name, MAC, MTU, state, addresses and default routes.

In netlink's own form, as this is asked of every partition every other second: pyroute2 takes ten times as long. An
answer is read as far as it can matter: the partition's root may have made thousands of addresses and routes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from vnicd.spec.drift import DefaultRoute, Seen

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_EXT_MASK = 1, 3, 4, 10, 29
RTEXT_FILTER_SKIP_STATS = 1 << 3
IFA_ADDRESS, IFA_LOCAL, IFA_CACHEINFO = 1, 2, 6
RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 4, 5, 6, 15
TABLE_MAIN, RTPROT_RA, SCOPE_LINK, IFF_UP = 254, 9, 253, 0x1

NO_ROUTES = (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
"""The table, or the whole family, is not there."""

PAGE = 32768
"""Bytes of an answer that the kernel hands out at once, at most."""

PAGES_MOST = 2
"""Pages of an answer that are read: some 800 addresses, or 600 routes."""

LOOPBACK = "lo"

Attributes = dict[int, bytes]


def look(ifname: str) -> Seen | None:
    """The interface of this name in the calling thread's namespace; None when there is none.

    OSError when it can't be said, as with too many addresses.
    """
    link = _link(ifname)
    if link is None:
        return None
    index, flags, own = link
    addresses, link_local_made = _addresses(index)
    routes = [_default_routes(family, index) for family in (socket.AF_INET, socket.AF_INET6)]
    return Seen(
        index=index,
        ifname=os.fsdecode(own[IFLA_IFNAME].rstrip(b"\0")),
        mac=own.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=int.from_bytes(own[IFLA_MTU], "little"),
        is_up=bool(flags & IFF_UP),
        has_master=IFLA_MASTER in own,
        addresses=addresses,
        routes=tuple(route for known in routes for route in known or ()),
        knows_routes=None not in routes,
        link_local_made=link_local_made,
        lo_is_up=_is_up(LOOPBACK),
    )


def _is_up(ifname: str) -> bool:
    link = _link(ifname)
    return link is not None and bool(link[1] & IFF_UP)


def _link(ifname: str) -> tuple[int, int, Attributes] | None:
    """Index, flags and attributes of an interface."""
    name = _attribute(IFLA_IFNAME, os.fsencode(ifname) + b"\0")
    mask = _attribute(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
    try:
        for kind, body in _answer(RTM_GETLINK, NLM_F_REQUEST, bytes(16) + name + mask):
            if kind == RTM_NEWLINK:
                index, flags = struct.unpack_from("=iI", body, 4)
                return index, flags, _attributes(body, 16)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    return None


def _addresses(index: int) -> tuple[tuple[str, ...], int]:
    """Its addresses without the link-local ones, and when the newest of those was made."""
    found, made = [], 0
    question = struct.pack("=BBBBi", 0, 0, 0, 0, index)
    for kind, body in _answer(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, question):
        if kind != RTM_NEWADDR:
            continue
        family, length, _, scope = struct.unpack_from("=BBBB", body)
        own = _attributes(body, 8)
        if family == socket.AF_INET6 and scope == SCOPE_LINK:
            made = max(made, struct.unpack_from("=4I", own[IFA_CACHEINFO])[2])
        else:
            found.append(f"{socket.inet_ntop(family, own.get(IFA_LOCAL) or own[IFA_ADDRESS])}/{length}")
    return tuple(found), made


def _default_routes(family: int, index: int) -> list[DefaultRoute] | None:
    """Those of the main table; None when there are so many routes that they were not found among them."""
    question = struct.pack("=8BI", family, *bytes(7), 0) + _attribute(
        RTA_TABLE, struct.pack("=I", TABLE_MAIN)
    )
    found = []
    try:
        for kind, body in _answer(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, question):
            if kind == RTM_NEWROUTE and body[0] == family and body[1] == 0:
                found.append(_default_route(family, body, index))
    except OSError as error:
        if error.errno == errno.EMSGSIZE and family == socket.AF_INET:
            return found  # there they come first; in the tables of IPv6 they come last
        if error.errno == errno.EMSGSIZE:
            return None
        if error.errno not in NO_ROUTES:
            raise
    return found


def _default_route(family: int, body: bytes, index: int) -> DefaultRoute:
    own = _attributes(body, 12)
    gateway = own.get(RTA_GATEWAY, b"")
    return DefaultRoute(
        version=4 if family == socket.AF_INET else 6,
        gateway=socket.inet_ntop(family, gateway) if gateway else "",
        is_own=int.from_bytes(own.get(RTA_OIF, b""), "little") == index,
        metric=int.from_bytes(own.get(RTA_PRIORITY, b""), "little"),
        is_advertised=body[5] == RTPROT_RA,
    )


def _answer(kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of an answer, each without its header; OSError when the kernel refuses or has too much to say.

    Each question has a socket of its own, as an answer that is not read to its end blocks the next question.
    """
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as sock:
        sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        sock.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        for _ in range(PAGES_MOST):
            for answer, message in _messages(sock.recv(PAGE)):
                if answer == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", message)[0]
                    raise OSError(number, os.strerror(number))
                if answer == NLMSG_DONE:
                    return
                yield answer, message
            if not flags & NLM_F_DUMP:
                return
    raise OSError(errno.EMSGSIZE, "there is more than is read")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _messages(page: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(page):
        length, kind = struct.unpack_from("=IH", page, at)
        yield kind, page[at + 16 : at + length]
        at += length + 3 & ~3


def _attributes(body: bytes, at: int) -> Attributes:
    found = {}
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        found[kind & 0x3FFF] = body[at + 4 : at + length]
        at += max(4, length + 3 & ~3)
    return found
