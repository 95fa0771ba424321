"""The hosting daemon's end of its connection to one partition daemon; never blocks."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

from vnicd.daemon import messages
from vnicd.daemon.messages import Message

MAX_QUEUE = 8192
"""Messages kept for a partition daemon that does not read (it is stopped); more, and it is cut off."""

LAST_WORD = 1.0
"""Seconds that a partition daemon has to read the last message."""


class Channel:
    """`on_message(channel, message, fds)` takes what arrives, `on_end(channel)` is called once at the end."""

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Channel, Message, list[int]], None],
        on_end: Callable[[Channel], None],
    ) -> None:
        self.sock = sock
        self.on_message = on_message
        self.on_end = on_end
        self.queue: deque[tuple[Message, list[int]]] = deque()
        self.loop = asyncio.get_running_loop()
        self.port = -1
        sock.setblocking(False)
        self.pid, self.uid, _ = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        self.loop.add_reader(sock, self._readable)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send now or, if the socket is full, later; the descriptors stay the caller's."""
        if self.sock.fileno() < 0:
            return
        if not self.queue:
            try:
                messages.send(self.sock, message, fds)
                return
            except BlockingIOError:
                self.loop.add_writer(self.sock, self._writable)
            except OSError:
                self.close()
                return
        self.queue.append((message, [os.dup(fd) for fd in fds]))
        if len(self.queue) > MAX_QUEUE:
            self.close()

    def dismiss(self, message: Message) -> None:
        """Send a last message, listen no more, and close when there was time to read it.

        What was not read yet would be lost if we closed at once while something has been sent to us.
        """
        self.send(message)
        if self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock)
            self.loop.call_later(LAST_WORD, self.close)

    def close(self) -> None:
        """End the connection; twice is once."""
        if self.sock.fileno() < 0:
            return
        self.loop.remove_reader(self.sock)
        self.loop.remove_writer(self.sock)
        self.sock.close()
        for _, fds in self.queue:
            messages.close_all(fds)
        self.queue.clear()
        self.on_end(self)

    def _writable(self) -> None:
        while self.queue:
            message, fds = self.queue[0]
            try:
                messages.send(self.sock, message, fds)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            messages.close_all(fds)
            self.queue.popleft()
        self.loop.remove_writer(self.sock)

    def _readable(self) -> None:
        try:
            got = messages.receive(self.sock)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            got = None
        if got is None:
            self.close()
        else:
            self.on_message(self, *got)
