"""Who has a place at the control server: when there are too many, and when it begins and ends to listen."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.framework.control.bench import ANSWER, ASK, CHANGE, Bench, serve
from tests.framework.fabric.users import NOBODY


@pytest.mark.root
def test_who_was_answered_most_goes_when_none_is_silent() -> None:
    """So one user's clients that ask without end leave a place for the next."""

    async def test(bench: Bench) -> None:
        crowd = [bench.connect(NOBODY, ASK * 5000) for _ in range(3)]
        for sock in crowd:
            assert await bench.answer(sock) == ANSWER
        assert await bench.ask(bench.connect(NOBODY)) == ANSWER
        assert bench.server.clients == 3

    serve(test, MAX_OF_OWNER=3)


def test_the_longest_silent_one_goes_when_there_are_too_many() -> None:
    async def test(bench: Bench) -> None:
        one, two = bench.connect(), bench.connect()
        for sock in (two, one):
            assert await bench.ask(sock) == ANSWER
        assert await bench.ask(bench.connect()) == ANSWER
        assert await bench.answer(two) is None
        assert await bench.ask(one) == ANSWER

    serve(test, MAX_CLIENTS=2, MAX_OF_OWNER=2)


@pytest.mark.root
def test_who_waits_for_an_answer_is_not_silent() -> None:
    """Then the new one has to go, and is told why."""

    async def test(bench: Bench) -> None:
        release, asked = asyncio.Event(), asyncio.Semaphore(0)

        async def slow(params: dict[str, Any]) -> Any:
            asked.release()
            await release.wait()
            return {}

        bench.server.methods["change"] = slow
        waiting = [bench.connect(say=CHANGE) for _ in range(2)]
        for _ in waiting:
            await asked.acquire()
        third = await bench.answer(bench.connect())
        assert third["error"]["code"] == "resources" and "too many clients" in third["error"]["message"]
        release.set()
        assert [await bench.answer(sock) for sock in waiting] == [ANSWER] * 2

    serve(test, MAX_CLIENTS=2, MAX_OF_OWNER=2)


@pytest.mark.root
def test_nobody_takes_the_places_of_root_or_of_other_users() -> None:
    async def test(bench: Bench) -> None:
        root, other = bench.connect(), bench.connect(1001)
        for sock in (root, other):
            assert await bench.ask(sock) == ANSWER
        crowd = [bench.connect(NOBODY) for _ in range(50)]
        assert await bench.ask(crowd[-1]) == ANSWER
        assert bench.server.clients == 5
        assert [await bench.answer(sock) for sock in crowd[:47]] == [None] * 47
        for sock in (root, other, bench.connect()):
            assert await bench.ask(sock) == ANSWER

    serve(test, MAX_CLIENTS=4, MAX_OF_OWNER=3)


@pytest.mark.root
@pytest.mark.parametrize("grace", [0.0, 100.0])
def test_a_silent_stranger_keeps_its_place_for_some_seconds(grace: float) -> None:
    async def test(bench: Bench) -> None:
        first, _ = bench.connect(1001), bench.connect(1002)
        newcomer = bench.connect(1003)
        if grace:
            assert (await bench.answer(newcomer))["error"]["code"] == "resources"
            assert await bench.ask(first) == ANSWER
        else:
            assert await bench.ask(newcomer) == ANSWER
            assert await bench.answer(first) is None

    serve(test, MAX_CLIENTS=2, MAX_OF_OWNER=2, SILENT_CLIENT_S=grace)


def test_a_socket_that_listens_already() -> None:
    """As systemd hands it over; and then another, while the clients of the first stay."""

    async def test(bench: Bench) -> None:
        old = bench.connect()
        assert await bench.ask(old) == ANSWER
        bench.path.unlink()
        ready = socket.socket(socket.AF_UNIX)
        ready.bind(str(bench.path))
        ready.listen()
        early = bench.connect(say=ASK)
        await bench.server.listen(ready)
        assert await bench.answer(early) == ANSWER
        assert await bench.ask(old) == ANSWER

    serve(test)


def test_closing_lets_who_has_asked_have_the_answer() -> None:
    async def test(bench: Bench) -> None:
        release = asyncio.Event()

        async def slow(params: dict[str, Any]) -> Any:
            await release.wait()
            return {}

        bench.server.methods["small"] = slow
        asking, silent = bench.connect(say=ASK * 2), bench.connect()
        assert (await bench.ask(silent, CHANGE)) == ANSWER
        bench.server.close()
        assert await bench.answer(silent) is None
        release.set()
        assert await bench.answer(asking) == ANSWER
        assert await bench.answer(asking) is None
        with pytest.raises(ConnectionRefusedError):
            bench.connect()

    serve(test)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_no_descriptors_for_a_client() -> None:
    """It is taken in as soon as there is one, and to try does not keep the host from all else."""
    told: list[Any] = []

    async def test(bench: Bench) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        old = bench.connect()
        assert await bench.ask(old) == ANSWER
        new = bench.connect(say=ASK)
        hoard = []
        with pytest.raises(OSError) as full:
            while True:
                hoard.append(os.dup(0))
        assert full.value.errno == errno.EMFILE
        try:
            while not told:
                assert await bench.ask(old) == ANSWER
            for _ in range(100):
                assert await bench.ask(old) == ANSWER
            assert len(told) < 20
        finally:
            for fd in hoard:
                os.close(fd)
        assert await bench.answer(new) == ANSWER
        assert {error.errno for error in told} == {errno.EMFILE}

    serve(test, ACCEPT_PAUSE_S=0.05)
