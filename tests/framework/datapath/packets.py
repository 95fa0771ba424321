"""Packets with descriptors between two ends, what is no message, and a count of descriptors to find leaks by."""

from __future__ import annotations

import os
import socket

Pair = tuple[socket.socket, socket.socket]

GARBAGE = [b"x", b"{", b"[]", b"7", b"null", b"{}", b'{"op": 7}', b"\xff\xfe", b'{"op": "a"} {"op": "b"}']
DEEP = b'{"op": "made", "x": ' + b"[" * 100_000


def numbered(number: int) -> int:
    """A memfd that holds a number."""
    fd = os.memfd_create("numbered")
    os.pwrite(fd, b"%d" % number, 0)
    return fd


def number_in(fd: int) -> int:
    """The number of a memfd, which is closed."""
    try:
        return int(os.pread(fd, 10, 0))
    finally:
        os.close(fd)
