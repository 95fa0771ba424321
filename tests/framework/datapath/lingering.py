"""A descriptor whose last close takes seconds, as its owner likes: what nobody who serves others may close himself."""

from __future__ import annotations

import contextlib
import socket
import struct

SECONDS = 5


def lingering() -> tuple[int, list[socket.socket]]:
    """A TCP socket with bytes that nobody reads, and what it needs to live; it lingers until that is closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(listener.getsockname())
    other, _ = listener.accept()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, SECONDS))
    one.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            one.send(bytes(1 << 16))
    return one.detach(), [listener, other]
