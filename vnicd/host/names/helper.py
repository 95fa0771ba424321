"""The hosting daemon's end of the names helper: a process that gets all it needs by one connection, and sends nothing.

It parses what strangers send, so nothing is ever read from it. Whether it goes on is told by the kernel: a connection
whose packets are not read is that of a helper that is stopped or stuck, and it is ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from vnicd.config import Paths
from vnicd.kernel.netns import Identity
from vnicd.process import privileges
from vnicd.protocol import registration
from vnicd.protocol.registration import Message

SIOCOUTQ = 0x5411
STDERR = 2
START_TIMEOUT_S, STUCK_TIMEOUT_S = 20.0, 3.0
"""Seconds in which a new helper has to read what it was sent, and one that has read before."""

MAX_QUEUE = 4096
"""Packets kept for a helper that does not read."""


class Helper:
    """`on_end(why)` is called when it has ended by itself, or was found stuck; to close it is next."""

    def __init__(
        self, sock: socket.socket, child: subprocess.Popen[bytes] | None, on_end: Callable[[str], None]
    ) -> None:
        self.sock = sock
        self.child = child
        """None when it is a unit of systemd, which watches it as well."""
        self.on_end = on_end
        self.served: dict[Identity, int] = {}
        """The ids of the namespaces in which it answers."""
        self.told: dict[str, tuple[str, ...]] = {}
        self.forwarding = False
        self.log = _standard_error()
        """The file that it logs to, which is ours; a child is handed another one when we have begun that."""
        self.last_id = 0
        self.queue: deque[tuple[Message, list[int]]] = deque()
        self.loop = asyncio.get_running_loop()
        self.unread_since = self.loop.time()
        """When the first packet was sent of those that it may not have read."""
        self.timeout = START_TIMEOUT_S
        sock.setblocking(False)
        sock.shutdown(socket.SHUT_RD)
        # The event loop can't wait for a hang-up alone, and a socket that is shut down is always readable.
        self.hangup = select.epoll()
        self.hangup.register(sock, 0)
        self.loop.add_reader(self.hangup, self._ended)
        self.closed = False

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child is not None else None

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a packet, now or when there is room; the descriptors are ours from now on."""
        if self.closed:
            registration.close_all(fds)
            return
        if not self._has_unread():
            self.unread_since = self.loop.time()
        self.queue.append((message, list(fds)))
        if len(self.queue) > MAX_QUEUE:
            self.on_end("does not read")
        elif len(self.queue) == 1:
            self._flush()

    def tell_log(self, level: str) -> None:
        """At which level it is to log, and where, if that has changed."""
        fds: list[int] = []
        with suppress(OSError):  # no descriptors: the next look makes up for it
            if self.child is not None and self.log != (now := _standard_error()):
                fds = [os.dup(STDERR)]
                self.log = now
        self.send({"op": "log", "level": level}, fds)

    def look(self, level: str) -> None:
        """From time to time: end a helper that does not read what it is sent."""
        if self.child is not None and self.log != _standard_error():
            self.tell_log(level)
        if self.closed:  # it was found to have ended just now
            return
        if not self._has_unread():
            self.timeout = STUCK_TIMEOUT_S
            self.send({"op": "ping"})
        elif self.loop.time() - self.unread_since > self.timeout:
            self.on_end("does not move")

    def close(self) -> subprocess.Popen[bytes] | None:
        """End it. The child that is to be waited for."""
        if not self.closed:
            self.closed = True
            self.loop.remove_reader(self.hangup)
            self.loop.remove_writer(self.sock)
            self.hangup.close()
            self.sock.close()
            for _, fds in self.queue:
                registration.close_all(fds)
            self.queue.clear()
            if self.child is not None:
                self.child.kill()
                return self.child
        return None

    def _flush(self) -> None:
        while self.queue and not self.closed:
            message, fds = self.queue[0]
            try:
                registration.send(self.sock, message, fds)
            except BlockingIOError:
                self.loop.add_writer(self.sock, self._flush)
                return
            except OSError:
                self._ended()
                return
            self.queue.popleft()
            registration.close_all(fds)
        if not self.closed:
            self.loop.remove_writer(self.sock)

    def _has_unread(self) -> bool:
        if self.queue:
            return True
        return int.from_bytes(fcntl.ioctl(self.sock, SIOCOUTQ, bytes(4)), sys.byteorder) > 0

    def _ended(self) -> None:
        if not self.closed:
            self.on_end("has ended")


def _standard_error() -> tuple[int, int]:
    facts = os.fstat(STDERR)
    return facts.st_dev, facts.st_ino


def start_child(paths: Paths, on_end: Callable[[str], None]) -> Helper:
    """Start a helper as a child of ours."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "vnicd", "names"],
                stdin=theirs.fileno(),
                start_new_session=True,
                env={
                    **os.environ,
                    "VNICD_RUNTIME_DIR": str(paths.root),
                    privileges.VARIABLE: str(privileges.user_of(paths.root, 0)),
                },
            )
        except OSError:
            ours.close()
            raise
    return Helper(ours, child, on_end)


def start_unit(paths: Paths, on_end: Callable[[str], None]) -> Helper:
    """Have systemd start one, by connecting to its socket, which root alone can; OSError when there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        sock.connect(str(paths.default.names))
    except OSError:
        sock.close()
        raise
    return Helper(sock, None, on_end)
