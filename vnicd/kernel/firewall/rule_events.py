"""News of the packet filter's rules: a netlink socket that becomes readable when anybody changes any."""

from __future__ import annotations

import errno
import socket

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7

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


def drain(sock: socket.socket, table: str) -> tuple[bool, bool]:
    """Take what there is to read: whether it may concern the table of that name, and whether others' tables."""
    name = table.encode() + b"\0"
    ours = others = False
    for _ in range(MOST_AT_ONCE):
        try:
            message = sock.recv(1 << 16)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True, True  # more news than the socket could hold
        ours, others = ours or name in message, others or name not in message
    return ours, others
