"""Passes questions on to the machine's resolvers, each from a socket of its own: port and id are chosen by chance.

What a resolver answers goes back as it is. A truncated answer goes back, too: the asker comes again by TCP, and TCP is
how the resolver is asked then.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable

from vnicd.names.answers import refusal
from vnicd.names.resolvers import Resolvers
from vnicd.names.wire import Code, Question
from vnicd.spec.names import TCP_PORT

TIMEOUT_S = 1.5
"""Seconds that one resolver has by UDP: three of them in the 5 s in which the C library waits for us."""

TCP_TIMEOUT_S = 4.0
MAX_MESSAGE = 65535

MAX_IN_FLIGHT = 1024
"""Questions of all namespaces together that wait for an answer; each of them is a socket."""

MAX_OF_NAMESPACE = 64

NEXT = (Code.SERVFAIL, Code.NOTIMP, Code.REFUSED)
"""With these the next resolver is asked."""


def share(namespaces: int) -> int:
    """Questions of one namespace that may wait at a time: so many that all can have as many."""
    return min(MAX_OF_NAMESPACE, MAX_IN_FLIGHT // max(1, namespaces))


class Forwarder:
    def __init__(self, resolvers: Resolvers, tcp_port: int = TCP_PORT) -> None:
        self.resolvers = resolvers
        self.tcp_port = tcp_port

    async def ask(self, question: Question, tcp: bool = False) -> bytes:
        """What the first resolver says that knows; SERVFAIL when none answers."""
        last = None
        for resolver in self.resolvers.in_order():
            ident = secrets.randbits(16)
            data = struct.pack("!H", ident) + question.data[2:]
            way: Callable[[str, bytes, Question, int], Awaitable[bytes]] = (
                self._by_tcp if tcp else self._by_udp
            )
            try:
                async with asyncio.timeout(TCP_TIMEOUT_S if tcp else TIMEOUT_S):
                    reply = await way(resolver, data, question, ident)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self.resolvers.was_silent(resolver)
                continue
            self.resolvers.has_answered(resolver)
            last = question.data[:2] + reply[2:]
            if reply[3] & 0xF not in NEXT:
                break
        return last or refusal(question, Code.SERVFAIL)

    async def _by_udp(self, resolver: str, data: bytes, question: Question, ident: int) -> bytes:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(_place(resolver, self.tcp_port))
            await loop.sock_sendall(sock, data)
            while True:
                reply = await loop.sock_recv(sock, MAX_MESSAGE)
                if question.is_answered_by(reply, ident):
                    return reply

    async def _by_tcp(self, resolver: str, data: bytes, question: Question, ident: int) -> bytes:
        reader, writer = await asyncio.open_connection(resolver, self.tcp_port)
        try:
            writer.write(struct.pack("!H", len(data)) + data)
            size = struct.unpack("!H", await reader.readexactly(2))[0]
            reply = await reader.readexactly(size)
        finally:
            writer.transport.abort()
        if not question.is_answered_by(reply, ident):
            raise ConnectionError("not an answer")
        return reply


def _place(resolver: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    host, _, scope = resolver.partition("%")
    if not scope:
        return resolver, port
    try:
        return host, port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    except OSError as error:
        raise ConnectionError(f"there is no interface {scope}") from error
