"""The hosting daemon's end of its connection to one partition daemon; never blocks.

The partition daemon may be hostile. What it sends takes at most a part of the event loop's time: then it is not read
for a while. The descriptors that come are closed by a thread, as that can take as long as their owner likes; the socket
is emptied of them before it is closed. Time and thread are of the daemon's allowance.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence

from vnicd.host.ports.allowance import Allowance
from vnicd.protocol import registration
from vnicd.protocol.registration import Message

MAX_QUEUE = 8192
"""Messages kept for a partition daemon that does not read (it is stopped); more, and it is cut off."""

LAST_WORD = 1.0
"""Seconds that a partition daemon has to read the last message."""

MOST_QUEUED = 1024
"""Messages that a socket can hold: 416 KiB (twice net.core.wmem_max), and even an empty one takes 640 bytes."""

NO_PLACE = "the hosting daemon has too many open files to take it"

DRAIN_SPACE = registration.FDS_SPACE + socket.CMSG_SPACE(12)
"""With the credentials of the sender."""


class Channel:
    """`on_message(channel, message, fds)` takes what arrives, `on_end(channel)` is called once at the end."""

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Channel, Message, list[int]], None],
        on_end: Callable[[Channel], None],
        allowance: Allowance,
    ) -> None:
        self.sock = sock
        self.on_message = on_message
        self.on_end = on_end
        self.queue: deque[tuple[Message, list[int]]] = deque()
        self.loop = asyncio.get_running_loop()
        self.port = -1
        self.dismissed = False
        """We listen no more: a last message was sent."""
        self.waits_for_tap = False
        """It has said who it is, and its partition's interface is being made."""
        self.allowance = allowance
        sock.setblocking(False)
        self.pid, self.uid, _ = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        self.loop.add_reader(sock, self._readable)
        self._rest(allowance.pay(0.0, self.loop.time()))

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send now or, if the socket is full, later; the descriptors stay the caller's."""
        if self.sock.fileno() < 0:
            return
        if not self.queue:
            try:
                registration.send(self.sock, message, fds)
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
        self.dismissed = True
        if self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock)
            self.loop.call_later(LAST_WORD, self.close)

    def close(self) -> None:
        """End the connection; twice is once."""
        if self.sock.fileno() < 0:
            return
        begun = time.thread_time()
        self.loop.remove_reader(self.sock)
        self.loop.remove_writer(self.sock)
        self._drain()
        self.sock.close()
        self.allowance.pay(time.thread_time() - begun, self.loop.time())
        for _, fds in self.queue:
            registration.close_all(fds)
        self.queue.clear()
        self.on_end(self)

    def _writable(self) -> None:
        while self.queue:
            message, fds = self.queue[0]
            try:
                registration.send(self.sock, message, fds)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            registration.close_all(fds)
            self.queue.popleft()
        self.loop.remove_writer(self.sock)

    def _drain(self) -> None:
        """Take out what nobody will read: with descriptors in it, closing the socket could take long."""
        try:
            self.sock.shutdown(socket.SHUT_RD)  # so that nothing more can be sent
            self.sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_PASSCRED, 1
            )  # tells an empty message from the end
            for _ in range(MOST_QUEUED):
                _, ancillary, _, _ = self.sock.recvmsg(1, DRAIN_SPACE, socket.MSG_CMSG_CLOEXEC)
                if not ancillary:
                    return
                self.discard(registration.received_fds(ancillary))
        except OSError:
            pass

    def discard(self, fds: Sequence[int]) -> None:
        """Have descriptors closed that have come by this channel."""
        self.allowance.reaper.put(fds)

    def _readable(self) -> None:
        begun = time.thread_time()  # and not the clock, which goes on while others have the CPU
        try:
            got = registration.receive(self.sock, self.discard)
        except BlockingIOError:
            return
        except registration.DescriptorsLost as error:
            got = self._without_descriptors(error)
        except (OSError, ValueError):
            got = None
        if got is None or self.allowance.is_overdrawn:
            self.discard(got[1] if got else [])
            self.close()
            return
        self.on_message(self, *got)
        self._rest(self.allowance.pay(time.thread_time() - begun, self.loop.time()))

    def _without_descriptors(self, error: registration.DescriptorsLost) -> tuple[Message, list[int]] | None:
        """What is new fails, as if the daemon had said so, and what there is goes on; a hello comes again by itself."""
        return ({**error.message, "error": NO_PLACE}, []) if self.port >= 0 else None

    def _rest(self, seconds: float) -> None:
        """Read no more for a while, if it is one."""
        if seconds > 0 and self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock)
            self.loop.call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        if self.sock.fileno() >= 0 and not self.dismissed:
            self.loop.add_reader(self.sock, self._readable)
