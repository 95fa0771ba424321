"""News of the packet filter's rules: a netlink socket that becomes readable when anybody changes any."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7

TYPE_AT = 4
"""Where a message has the lower byte of its type."""

REMOVALS = (2, 5, 8)
"""NFT_MSG_DELTABLE, DELCHAIN and DELRULE. Who makes a table anew tells of its end first."""

MOST_AT_ONCE = 500
"""Messages that are read in one go; a table of thousands of rules must not keep its reader from other work."""


def open_watch() -> socket.socket:
    """A socket that hears of every change of nftables in the calling thread's namespace from now on."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
    try:
        sock.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
    except OSError:
        sock.close()
        raise
    return sock


class News(NamedTuple):
    """What was heard of: our table, what of it was taken away and not made again, and the tables of others."""

    ours: bool = False
    lost: bool = False
    others: bool = False


def drain(sock: socket.socket, table: str) -> News:
    """Take what there is to read; `table` is ours."""
    name = table.encode() + b"\0"
    ours = lost = others = False
    for _ in range(MOST_AT_ONCE):
        try:
            message = sock.recv(1 << 16)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return News(True, True, True)  # more news than the socket could hold
        if name in message:
            ours, lost = True, message[TYPE_AT] in REMOVALS
        else:
            others = True
    return News(ours, lost, others)
