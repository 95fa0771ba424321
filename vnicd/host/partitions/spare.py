"""The spare daemon: a partition daemon that has started already, and waits to be told whose it is.

Of all that it takes to add a partition the start of a daemon takes longest, and a container waits for it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping

from vnicd.kernel import process
from vnicd.protocol import registration


class Spare:
    """There is none until `prepare`. It ends with the hosting daemon, however that ends."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.sock: socket.socket | None = None

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Start one, if there is none that lives; OSError if there can't be one."""
        if self.child is not None and self.child.poll() is None:
            return
        self.end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self.child = subprocess.Popen(
                    [sys.executable, "-m", "vnicd", "partition", registration.NOBODYS],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env=environment,
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self.sock = ours

    def take(self, name: str, user: int, log: int) -> subprocess.Popen[bytes] | None:
        """Make it the daemon of this partition, as this user and with this log; None if there is none to be had."""
        child, sock = self.child, self.sock
        if child is None or sock is None:
            return None
        try:
            if child.poll() is None and not process.is_stopped(child.pid):
                registration.send(sock, {"op": "serve", "name": name, "user": user}, [log])
                self.child = self.sock = None
                sock.close()
                return child
        except OSError:
            pass  # it has just died
        self.end()
        return None

    def end(self) -> None:
        if self.sock is not None:
            self.sock.close()
        if self.child is not None:
            self.child.kill()
            self.child.wait()
        self.child = self.sock = None
