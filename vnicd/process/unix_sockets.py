"""Unix sockets that strangers connect to: who they are, and that they can send no descriptors."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

SO_PASSRIGHTS = 83
"""Linux 6.16 and later: whether others can send us descriptors. Python has no name for it yet."""


def peer(sock: socket.socket) -> tuple[int, int]:
    """User and process that have connected a Unix socket, as the kernel tells it."""
    pid, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid), int(pid)


def refuse_descriptors(sock: socket.socket) -> None:
    """Let nobody send descriptors to this socket, or to what connects to it if it listens.

    Without this the kernel closes them when we read what they came with; and to close one can take as long as
    its owner likes, such as a TCP socket that lingers. Older kernels can't refuse them.
    """
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
