"""The sockets at which the names helper answers in a namespace."""

from __future__ import annotations

import socket

from vnicd.kernel import netns
from vnicd.spec.names import SERVER, TCP_PORT

IP_FREEBIND = 15
"""Python has no name for it yet."""

BACKLOG = 64


def open_in(path: str) -> tuple[socket.socket, socket.socket]:
    """A UDP socket and a TCP listener at SERVER in the namespace at a path.

    OSError when somebody has the place already; NoNamespace when there is no namespace.
    """
    return netns.inside(path, _open)


def _open() -> tuple[socket.socket, socket.socket]:
    made: list[socket.socket] = []
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
            made.append(sock)
            # The loopback of a container may be set up later than it gets its partition.
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            if kind == socket.SOCK_STREAM:  # connections of an earlier helper may linger
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((SERVER, TCP_PORT))
        made[1].listen(BACKLOG)
    except OSError:
        for sock in made:
            sock.close()
        raise
    return made[0], made[1]
