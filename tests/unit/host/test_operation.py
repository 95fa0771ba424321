"""An operation is done as a whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from vnicd.errors import Busy
from vnicd.host.operation import Step, carry_out

NAMES = ("one", "two", "three")

Work = Callable[[], Awaitable[None]]


class Journal:
    """Steps that write down what becomes of them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, name: str, instead: Work | None = None, waits: bool = False) -> Step:
        return Step(name, instead or self._work(name), self._work(f"undo {name}"), waits)

    def give_up(self) -> None:
        self.lines.append("give up")

    def _work(self, line: str) -> Work:
        async def work() -> None:
            self.lines.append(line)

        return work


async def fail() -> None:
    raise Busy("not now")


def test_the_steps_are_taken_in_order() -> None:
    journal = Journal()
    asyncio.run(carry_out("it", [journal.step(name) for name in NAMES], journal.give_up))
    assert journal.lines == list(NAMES)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("at", range(len(NAMES)))
def test_those_before_the_one_that_fails_are_undone_the_last_first(at: int, waits: bool) -> None:
    journal = Journal()
    steps = [journal.step(name, fail if n == at else None, waits) for n, name in enumerate(NAMES)]
    with pytest.raises(Busy, match="not now"):
        asyncio.run(carry_out("it", steps, journal.give_up))
    done = list(NAMES[:at])
    assert journal.lines == [*done, "give up", *(f"undo {name}" for name in reversed(done))]


def test_a_step_without_undoing_is_passed_over() -> None:
    journal = Journal()
    steps = [journal.step("one"), Step("two", journal.step("two").do), journal.step("three", fail)]
    with pytest.raises(Busy):
        asyncio.run(carry_out("it", steps, journal.give_up))
    assert journal.lines == ["one", "two", "give up", "undo one"]


def test_an_undoing_that_fails_keeps_no_other_from_being_done(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal()
    steps = [journal.step("one"), Step("two", journal.step("two").do, fail), journal.step("three", fail)]
    with pytest.raises(Busy):
        asyncio.run(carry_out("partition blue", steps, journal.give_up))
    assert journal.lines == ["one", "two", "give up", "undo one"]
    assert caplog.messages == ["partition blue: to undo two: not now"]


@pytest.mark.parametrize("waits", [False, True])
def test_cancelled_in_a_step(waits: bool) -> None:
    """One that has begun is finished, and so undone; one that waits is left where it is."""
    journal = Journal()

    async def attempt() -> None:
        reached, goes_on = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            reached.set()
            await goes_on.wait()
            journal.lines.append("two")

        steps = [journal.step("one"), journal.step("two", work, waits), journal.step("three")]
        task = asyncio.ensure_future(carry_out("it", steps, journal.give_up))
        await reached.wait()
        task.cancel()
        asyncio.get_running_loop().call_soon(goes_on.set)
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(attempt())
    finished = [] if waits else ["two"]
    assert journal.lines == ["one", *finished, "give up", *(f"undo {name}" for name in finished), "undo one"]


def test_cancelled_in_a_step_that_fails_then() -> None:
    journal = Journal()

    async def attempt() -> None:
        reached, goes_on = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            reached.set()
            await goes_on.wait()
            raise Busy("not now")

        task = asyncio.ensure_future(
            carry_out("it", [journal.step("one"), journal.step("two", work)], journal.give_up)
        )
        await reached.wait()
        task.cancel()
        goes_on.set()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(attempt())
    assert journal.lines == ["one", "give up", "undo one"]
