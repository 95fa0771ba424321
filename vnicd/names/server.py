"""Answers in one namespace, by UDP and TCP. What its programs do costs it alone.

Theory of operation. The event loop gives each namespace that has something to read a turn of READS_A_TURN packets. A
namespace has QUERIES_A_WINDOW packets and connections in a window of time; what is too much waits in its own sockets,
and is lost there if it goes on. Questions that are passed on, and connections, are counted for each namespace.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from vnicd.names.answers import MAX_QUERY, Answer, judge, refusal
from vnicd.names.forwarder import Forwarder
from vnicd.names.wire import Code, Question
from vnicd.names.zone import Zone

Source = tuple[str, int]

READS_A_TURN = 8

WINDOW_S = 0.05
QUERIES_A_WINDOW = 250
"""So 5,000 in a second, which take the helper a tenth of a CPU, and with the longest names a quarter."""

MAX_CONNECTIONS = 32
MAX_OF_CONNECTION = 100
"""Questions on one connection."""

IDLE_TIMEOUT_S = 5.0
"""Seconds in which a question by TCP has to come, and its answer to be read."""


class NamespaceServer:
    """Serves with sockets that are its own from now on. `share()` is how many questions may wait for resolvers."""

    def __init__(
        self,
        udp: socket.socket,
        tcp: socket.socket,
        zone: Zone,
        forwarder: Forwarder,
        share: Callable[[], int],
        is_forwarding: Callable[[], bool],
    ) -> None:
        self.udp, self.tcp = udp, tcp
        self.zone, self.forwarder = zone, forwarder
        self.share, self.is_forwarding = share, is_forwarding
        self.loop = asyncio.get_running_loop()
        self.left = QUERIES_A_WINDOW
        self.window: asyncio.TimerHandle | None = None
        """Its end, in which there are as many again."""
        self.waiting = 0
        """Questions that were passed on."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.closed = False
        for sock in (udp, tcp):
            sock.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Give up all descriptors: they would keep the namespace alive."""
        self.closed = True
        self._rest()
        if self.window is not None:
            self.window.cancel()
        for task in self.tasks:
            task.cancel()
        self.udp.close()
        self.tcp.close()

    # ------------------------------------------------------------------------------------------ windows

    def _listen(self) -> None:
        self.loop.add_reader(self.udp, self._read)
        self.loop.add_reader(self.tcp, self._accept)

    def _rest(self) -> None:
        self.loop.remove_reader(self.udp)
        self.loop.remove_reader(self.tcp)

    def _take(self) -> bool:
        """Whether there is something left in this window; one is taken of it."""
        if self.window is None:
            self.window = self.loop.call_later(WINDOW_S, self._renew)
        self.left -= 1
        return self.left >= 0

    def _renew(self) -> None:
        self.window = None
        if self.left <= 0:
            self._listen()
        self.left = QUERIES_A_WINDOW

    # ---------------------------------------------------------------------------------------------- UDP

    def _read(self) -> None:
        for _ in range(READS_A_TURN):
            try:
                data, source = self.udp.recvfrom(MAX_QUERY + 1)
            except BlockingIOError:
                return
            except OSError:
                data, source = b"", None  # what the kernel heard of an earlier answer, such as a closed port
            if source is not None:
                self._serve(data, source)
            if not self._take():
                self._rest()
                return

    def _serve(self, data: bytes, source: Source) -> None:
        found = judge(self.zone, data, self.is_forwarding())
        if isinstance(found, Answer):
            self._send(found.data, source)
        elif found is not None:
            self._spawn(self._pass_on(found, source))

    async def _pass_on(self, question: Question, source: Source) -> None:
        self._send(await self._elsewhere(question, tcp=False), source)

    def _send(self, data: bytes, source: Source) -> None:
        try:
            self.udp.sendto(data, source)
        except OSError:
            pass  # the asker's socket is full, a firewall is between, or we are closed: it asks again

    async def _elsewhere(self, question: Question, tcp: bool) -> bytes:
        if self.waiting >= self.share():
            return refusal(question, Code.SERVFAIL)
        self.waiting += 1
        try:
            return await self.forwarder.ask(question, tcp)
        finally:
            self.waiting -= 1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # ---------------------------------------------------------------------------------------------- TCP

    def _accept(self) -> None:
        try:
            sock, _ = self.tcp.accept()
        except OSError:
            sock = None  # it has gone again, or we are out of descriptors
        if sock is not None and self.connections < MAX_CONNECTIONS:
            self._spawn(self._converse(sock))
        elif sock is not None:
            sock.close()
        if not self._take():
            self._rest()

    async def _converse(self, sock: socket.socket) -> None:
        self.connections += 1
        try:
            reader, writer = await asyncio.open_connection(sock=sock, limit=2 * MAX_QUERY)
        except BaseException:
            self.connections -= 1
            sock.close()
            raise
        try:
            for _ in range(MAX_OF_CONNECTION):
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    size = struct.unpack("!H", await reader.readexactly(2))[0]
                    data = await reader.readexactly(size) if size <= MAX_QUERY else b""
                    while not self._take():
                        await asyncio.sleep(WINDOW_S)
                found = judge(self.zone, data, self.is_forwarding(), tcp=True)
                if found is None:
                    break
                reply = found.data if isinstance(found, Answer) else await self._elsewhere(found, tcp=True)
                writer.write(struct.pack("!H", len(reply)) + reply)
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    await writer.drain()
            writer.close()
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self.connections -= 1
