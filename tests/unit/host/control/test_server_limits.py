"""What the control server does not put up with: silent clients, ones that take no answer, ones that ask too much."""

from __future__ import annotations

import asyncio
import select
from typing import Any

import pytest

from tests.framework.control.bench import ANSWER, ASK, CHANGE, Bench, serve
from tests.framework.fabric.users import NOBODY
from vnicd.host.control.access import MAX_READING_REQUEST


@pytest.mark.parametrize("start", [b"", b'{"method": "sm', ASK])
def test_a_client_that_says_nothing_for_too_long_is_cut_off(start: bytes) -> None:
    async def test(bench: Bench) -> None:
        sock = bench.connect(say=start)
        if start == ASK:
            assert await bench.answer(sock) == ANSWER
        assert await bench.answer(sock) is None
        assert bench.server.clients == 0

    serve(test, CLIENT_IDLE_TIMEOUT_S=0.05)


def test_a_client_that_says_a_byte_now_and_then_is_cut_off() -> None:
    async def test(bench: Bench) -> None:
        sock, other = bench.connect(), bench.connect()
        with pytest.raises(BrokenPipeError):
            while True:
                sock.send(b" ")
                assert await bench.ask(other) == ANSWER

    serve(test, CLIENT_IDLE_TIMEOUT_S=0.1)


def test_a_client_that_takes_no_answer_is_cut_off() -> None:
    """It is not counted any more, so it must not keep a descriptor and a megabyte of the host either."""

    async def test(bench: Bench) -> None:
        sock = bench.connect(say=b'{"method": "big"}\n')
        poller = select.poll()
        poller.register(sock, select.POLLHUP)
        assert await asyncio.to_thread(poller.poll, 1000), "the host still holds the connection"

    serve(test, CLIENT_IDLE_TIMEOUT_S=0.05)


@pytest.mark.root
def test_answers_that_nobody_takes_are_bounded() -> None:
    """The first that took none is cut off for the sake of the next."""

    async def test(bench: Bench) -> None:
        lazy = [bench.connect(NOBODY, b'{"method": "big"}\n' * 5) for _ in range(20)]
        assert await bench.ask(bench.connect(NOBODY)) == ANSWER
        waiting = [len(session.outbox) for session in bench.server.owners[NOBODY, 0].sessions]
        assert 1_000_000 < sum(waiting) <= 2_000_000
        last = await bench.answer(lazy[-1])
        assert len(last["result"]) == 1_000_000

    serve(test, MAX_UNTAKEN=2_000_000)


@pytest.mark.root
def test_one_users_many_requests_take_turns_with_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are waiting, root's is answered after a few of them."""

    async def test(bench: Bench) -> None:
        done = 0

        async def count(params: dict[str, Any]) -> Any:
            nonlocal done
            done += 1
            return {}

        bench.server.methods["small"] = count
        crowd = [bench.connect(NOBODY, ASK * 100) for _ in range(100)]
        root = bench.connect()
        while done < 100:
            await bench.ask(root, b'{"method": "big"}\n')
        before = done
        root.send(CHANGE)
        assert await bench.answer(root) == ANSWER
        assert done - before < 10
        assert await bench.answer(crowd[0]) == ANSWER

    serve(test)


@pytest.mark.root
def test_what_somebody_else_may_not_do() -> None:
    async def test(bench: Bench) -> None:
        sock = bench.connect(NOBODY)
        refused = await bench.ask(sock, b'{"id": 5, "method": "change"}\n')
        assert (refused["id"], refused["error"]["code"]) == (5, "not_permitted")
        assert refused["error"]["message"] == "only root can change it"
        assert await bench.ask(sock) == ANSWER
        sock.send(b"x" * (MAX_READING_REQUEST + 1))
        long = await bench.answer(sock)
        assert (
            long["error"]["code"] == "not_permitted" and str(MAX_READING_REQUEST) in long["error"]["message"]
        )
        assert await bench.answer(sock) is None

    serve(test)
