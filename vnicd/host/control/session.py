"""One client of the control socket: its request lines come one at a time, its answers go when it takes them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

READ = 4096
"""Bytes read at a time: what a client has sent beyond a line stays in the kernel, and there is less room for it."""


class Session:
    """Never blocks, and holds at most `limit` + READ bytes of requests, and one answer.

    `on_request(session, line)` is called with one line, and then not before `answer` was; `on_too_long(session)`
    instead when it has more than `limit` bytes, and nothing more is read. `on_end(session)` is called once.
    """

    def __init__(
        self,
        sock: socket.socket,
        owner: tuple[int, int],
        limit: int,
        on_request: Callable[[Session, bytes], None],
        on_too_long: Callable[[Session], None],
        on_end: Callable[[Session], None],
    ) -> None:
        self.sock, self.owner, self.limit = sock, owner, limit
        self.pid = 0
        """The process that has connected, whoever it is."""
        self.on_request, self.on_too_long, self.on_end = on_request, on_too_long, on_end
        self.loop = asyncio.get_running_loop()
        self.inbox = bytearray()
        self.outbox = memoryview(b"")
        self.busy = False
        """Whether a request is under way, up to the last byte of its answer; nothing is read meanwhile."""
        self.ending = False
        """Whether nothing more is to be read: it ends when what it has asked is answered."""
        self.answered = 0
        self.since = self.loop.time()
        """When it was last answered, or began to be; what it says before a whole request does not count."""
        sock.setblocking(False)
        self.loop.add_reader(sock, self._readable)

    @property
    def uid(self) -> int:
        return self.owner[0]

    @property
    def closed(self) -> bool:
        return self.sock.fileno() < 0

    @property
    def silent(self) -> bool:
        """Whether we wait for it, and not it for us: it asks nothing, or does not take its answer."""
        return not self.busy or len(self.outbox) > 0

    def answer(self, data: bytes) -> None:
        """Send the answer to its request; what it does not take at once goes later."""
        if self.closed:
            return
        self.answered += 1
        self.since = self.loop.time()
        self.outbox = memoryview(data)
        self._send()
        if self.outbox:
            self.loop.add_writer(self.sock, self._send)

    def finish(self) -> None:
        """Read nothing more, and close when it has its answer."""
        self.inbox.clear()
        self.ending = True
        if not self.busy:
            self.close()

    def close(self) -> None:
        """End the connection at once; twice is once."""
        if self.closed:
            return
        self.loop.remove_reader(self.sock)
        self.loop.remove_writer(self.sock)
        self.sock.close()
        self.inbox.clear()
        self.outbox = memoryview(b"")
        self.on_end(self)

    def _readable(self) -> None:
        try:
            data = self.sock.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self.ending = not data
        self.inbox += data
        self._next()

    def _next(self) -> None:
        """Hand on the next line if it is there, and else wait for it."""
        if self.closed:
            return
        length = self.inbox.find(b"\n")
        whole = length >= 0 or (self.ending and len(self.inbox) > 0)  # the last line may lack its end
        if length < 0:
            length = len(self.inbox)
        if length > self.limit:
            self._work()
            self.finish()
            self.on_too_long(self)
        elif whole:
            self._work()
            line = bytes(self.inbox[:length])
            del self.inbox[: length + 1]
            self.on_request(self, line)
        elif self.ending:
            self.close()
        elif self.busy:
            self.busy = False
            self.loop.add_reader(self.sock, self._readable)

    def _work(self) -> None:
        self.busy = True
        self.loop.remove_reader(self.sock)

    def _send(self) -> None:
        try:
            sent = self.sock.send(self.outbox)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self.outbox = self.outbox[sent:]
        if not self.outbox:
            self.outbox = memoryview(b"")  # lets go of the answer's memory
            self.since = self.loop.time()
            self.loop.remove_writer(self.sock)
            self.loop.call_soon(self._next)  # after the others that have something to say
