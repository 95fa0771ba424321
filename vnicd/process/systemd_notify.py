"""What systemd is told of a daemon: that it is ready, reloads or stops, its status, and that its datapath goes on.

The protocol is a datagram to the socket in NOTIFY_SOCKET (sd_notify(3)); without that variable nothing is sent. The
variables are taken out of the environment, so that no child of ours speaks in our name.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Notifier:
    """`watchdog` is the time in seconds between two signs of life, 0 when none are wanted."""

    def __init__(self) -> None:
        self.address = os.environ.pop("NOTIFY_SOCKET", "")
        usec, pid = os.environ.pop("WATCHDOG_USEC", "0"), os.environ.pop("WATCHDOG_PID", "")
        ours = self.address and usec.isdigit() and pid in ("", str(os.getpid()))
        self.watchdog = int(usec) / 1e6 / 2 if ours else 0.0
        self.is_ready = False
        self.reloads = 0
        """How many go on at the moment."""

    def ready(self, status: str) -> None:
        self.is_ready = True
        self._send("READY=1", f"STATUS={status}")

    @contextmanager
    def reload(self, status: Callable[[], str]) -> Iterator[None]:
        """Within: something is applied, whoever asked for it.

        Those that overlap are one reload for systemd, and what is applied before we are ready is part of the start.
        """
        self.reloads += 1
        if self.is_ready and self.reloads == 1:
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=applying")
        try:
            yield
        finally:
            self.reloads -= 1
            if self.is_ready and not self.reloads:
                self.ready(status())

    def stopping(self) -> None:
        self.is_ready = False
        self._send("STOPPING=1", "STATUS=stopping")

    def status(self, text: str) -> None:
        """How it is now, once we are ready; what comes in the middle of a reload is told at its end."""
        if self.is_ready and not self.reloads:
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """The datapath makes progress; not to be sent by a mere timer."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto("\n".join(lines).encode(), address)
            except OSError:
                pass  # systemd is being restarted; it asks again


def listening_sockets() -> list[socket.socket]:
    """The sockets that systemd has opened for us (sd_listen_fds(3)), none without it."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "0")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = [socket.socket(fileno=3 + number) for number in range(int(count))]
    for sock in found:
        sock.set_inheritable(False)
    return found
