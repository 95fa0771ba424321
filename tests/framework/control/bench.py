"""A control server and its clients in the event loop of a test."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.framework.descriptors import open_fds
from tests.framework.fabric.users import connect, open_folder
from vnicd.host.control import server
from vnicd.host.control.access import Rule
from vnicd.host.control.server import Server

ANSWER = {"id": 0, "result": {}}
ASK = b'{"method": "small"}\n'
CHANGE = b'{"method": "change"}\n'


async def big(params: dict[str, Any]) -> Any:
    return "x" * 1_000_000


async def small(params: dict[str, Any]) -> Any:
    return {}


class Bench:
    """A Server in the event loop of the test, and its clients."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.path = folder / "sock"
        self.stack = stack
        self.read: dict[socket.socket, bytes] = {}
        rules = {"big": Rule(), "small": Rule(), "change": Rule("change it")}
        self.server = Server({"big": big, "small": small, "change": small}, rules)

    def connect(self, uid: int = 0, say: bytes = b"") -> socket.socket:
        """A connection, made by this user without waiting for the server; it has said this."""
        sock = connect(self.path, uid, uid)[0] if uid else connect(self.path)[0]
        self.stack.callback(sock.close)
        sock.setblocking(False)
        if say:
            sock.send(say)
        return sock

    async def answer(self, sock: socket.socket) -> Any:
        """The next answer on a connection; None when the server has closed it."""
        data = self.read.pop(sock, b"")
        while b"\n" not in data:
            try:
                chunk = await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
            except ConnectionResetError:
                return None
            if not chunk:
                return None
            data += chunk
        line, _, self.read[sock] = data.partition(b"\n")
        return json.loads(line)

    async def ask(self, sock: socket.socket, say: bytes = ASK) -> Any:
        sock.send(say)
        return await self.answer(sock)


def serve(test: Callable[[Bench], Awaitable[None]], **limits: float) -> None:
    """Run a test beside a Server, which has these limits, in one event loop; neither keeps a descriptor."""

    async def run() -> None:
        with ExitStack() as stack:
            bench = Bench(stack.enter_context(open_folder()), stack)
            await bench.server.listen(str(bench.path))
            bench.path.chmod(0o666)
            await asyncio.wait_for(test(bench), 10)
            bench.server.close()
        while bench.server.clients:
            await asyncio.to_thread(int)  # gives the event loop a turn

    before = open_fds()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(server, name, value)
        asyncio.run(run())
    assert open_fds(collect=False) == before
