"""What the control server does not put up with: too many clients, silent ones, and ones that take no answer."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from vnicd.daemon import server as module
from vnicd.daemon.server import Server

Connect = Callable[[], Awaitable[socket.socket]]


async def big(params: dict[str, Any]) -> Any:
    return "x" * 1_000_000


async def small(params: dict[str, Any]) -> Any:
    return {}


def serve(path: Path, test: Callable[[Server, Connect], Awaitable[None]]) -> None:
    """Run a test beside a Server in one event loop."""

    async def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(path))
        return sock

    async def run() -> None:
        server = Server({"big": big, "small": small})
        await server.listen(str(path))
        await asyncio.wait_for(test(server, connect), 10)
        server.close()

    asyncio.run(run())


async def receive(sock: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, 1 << 16)


def test_a_client_beyond_the_limit_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)

    async def test(server: Server, connect: Connect) -> None:
        with await connect() as one, await connect() as two, await connect() as third:
            for sock in (one, two):
                sock.send(b'{"method": "small"}\n')
                assert await receive(sock) == b'{"id": 0, "result": {}}\n'
            assert b"clients already" in await receive(third)
            one.shutdown(socket.SHUT_WR)
            assert await receive(one) == b""
            with await connect() as fourth:
                fourth.send(b'{"method": "small"}\n')
                assert await receive(fourth) == b'{"id": 0, "result": {}}\n'

    serve(tmp_path / "sock", test)


@pytest.mark.parametrize("start", [b"", b'{"method": "sm'])
def test_a_client_that_says_nothing_for_too_long_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def test(server: Server, connect: Connect) -> None:
        with await connect() as sock:
            sock.send(start)
            assert await receive(sock) == b""
        assert server.clients == 0

    serve(tmp_path / "sock", test)


def test_a_client_that_takes_no_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not counted any more, so it must not keep a descriptor and a megabyte of the host either."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def test(server: Server, connect: Connect) -> None:
        with await connect() as sock:
            sock.send(b'{"method": "big"}\n')
            poller = select.poll()
            poller.register(sock, select.POLLHUP)
            assert await asyncio.to_thread(poller.poll, 1000), "the host still holds the connection"

    serve(tmp_path / "sock", test)
