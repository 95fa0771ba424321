"""Honest programs for tests of the provider, which know nothing of it: `python tests/support/honest.py ROLE`.

serve echoes at a port that it prints, wait does so with an event loop, ask does what its input says.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

LOCAL = "127.0.0.1"


def serve() -> None:
    """A thread for each connection, which blocks."""

    def echo(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while data := sock.recv(65536):
                sock.sendall(data)

    listener = socket.create_server((LOCAL, 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    while True:
        with suppress(OSError):
            sock, _ = listener.accept()
            Thread(target=echo, args=[sock], daemon=True).start()


def wait() -> None:
    """One thread for all connections, which never blocks but to wait; what can't be written is dropped."""
    listener = socket.create_server((LOCAL, 0), backlog=4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    loop = selectors.DefaultSelector()
    loop.register(listener, selectors.EVENT_READ)

    def look(sock: socket.socket) -> None:
        if sock is listener:
            with suppress(OSError):
                new, _ = listener.accept()
                new.setblocking(False)
                loop.register(new, selectors.EVENT_READ)
            return
        try:
            if data := sock.recv(65536):
                sock.send(data)
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        loop.unregister(sock)
        sock.close()

    while True:
        for key, _ in loop.select():
            look(key.fileobj)  # type: ignore[arg-type]


def ask() -> None:
    """`open PORT` makes a connection, `echo` uses it, `try PORT` uses another one and tells what came of it."""
    kept = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "open":
            kept = socket.create_connection((LOCAL, int(words[1])), 5)
            outcome = "open"
        elif words[0] == "echo":
            assert kept
            data = os.urandom(100_000)
            writer = Thread(target=kept.sendall, args=[data])
            writer.start()
            echoed = b""
            while len(echoed) < len(data):
                echoed += kept.recv(65536) or b"the end of the stream " * 10_000
            writer.join()
            outcome = str(echoed == data)
        else:
            outcome = attempt(int(words[1]), len(words) > 2)
        print(outcome, flush=True)


def attempt(port: int, blocking: bool) -> str:
    """What comes of a connection, within a second and some."""
    try:
        with socket.create_connection((LOCAL, port), 5) as sock:
            sock.settimeout(None if blocking else 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 1, 0))
            sock.sendall(b"hello")
            return sock.recv(100).decode(errors="replace")
    except OSError as error:
        return type(error).__name__


ROLES: dict[str, Callable[[], None]] = {"serve": serve, "wait": wait, "ask": ask}

if __name__ == "__main__":
    ROLES[sys.argv[1]]()
