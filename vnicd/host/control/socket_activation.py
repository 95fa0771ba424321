"""The control socket as systemd hands it to us: clients connect to it also while there is no hosting daemon."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vnicd.errors import VnicdError
from vnicd.protocol import control

SIOCUNIXFILE = 0x89E0
"""Opens the file that a socket was bound to, also when it was deleted. Python has no name for it."""


def is_at(listener: socket.socket, path: Path) -> bool:
    """Whether who connects to a path comes to this socket: its file may be deleted, and another's in its place."""
    try:
        fd = fcntl.ioctl(listener, SIOCUNIXFILE)
    except OSError:  # the kernel doesn't tell us
        return path.exists()
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False
    finally:
        os.close(fd)


def refuse_waiting(listeners: Iterable[socket.socket], error: VnicdError) -> None:
    """Tell all who wait that there will be no hosting daemon, and why; else they wait until they lose patience."""
    answer = control.failure(0, type(error)(f"the hosting daemon can't run: {error.message}", error.hint))
    for listener in listeners:
        listener.setblocking(False)
        with suppress(OSError):  # that was the last one
            while True:
                sock, _ = listener.accept()
                with sock, suppress(OSError):
                    sock.setblocking(False)
                    sock.send(answer)
