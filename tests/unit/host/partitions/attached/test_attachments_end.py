"""The watch of attachments ends when it is told to, whatever comes at the same moment, and at nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from tests.framework.descriptors import no_more_descriptors, open_fds
from vnicd.host.partitions.attached.attachments import Attachments
from vnicd.host.ports.port import Ports


class Turn:
    """Of the event loop: all that can run now runs once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def test_it_ends_also_when_there_is_news() -> None:
    """Or `vnicctl down`, which waits for it, would wait for ever."""

    async def run() -> bool:
        tasks: list[asyncio.Task[None]] = []

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            tasks.append(asyncio.get_running_loop().create_task(work))

        attachments = Attachments(Ports("/run/x"), spawn, lambda: None, lambda _: None)
        attachments.start()
        await Turn()  # it waits now
        attachments.look_soon()
        await Turn()  # it has heard, and has not run yet
        tasks[0].cancel()
        await asyncio.wait(tasks, timeout=5)
        return tasks[0].done()

    assert asyncio.run(run())


def test_the_watch_goes_on_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio says RuntimeError when none can be started."""

    async def run() -> bool:
        attachments = Attachments(Ports("/run/x"), lambda work: work.close(), lambda: None, lambda _: None)
        looked = asyncio.Event()

        async def look() -> None:
            looked.set()
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(attachments, "_look", look)
        watching = asyncio.ensure_future(attachments._watch())
        attachments.look_soon()
        await asyncio.wait_for(looked.wait(), 10)
        await Turn()
        is_over = watching.done()
        watching.cancel()
        return not is_over

    assert asyncio.run(run())


@pytest.mark.parametrize("left", [0, 1])
def test_a_watch_of_mounts_that_can_not_be_had_takes_nothing(left: int) -> None:
    async def run() -> None:
        attachments = Attachments(Ports("/run/x"), lambda work: work.close(), lambda: None, lambda _: None)
        before = open_fds()
        with no_more_descriptors(left), pytest.raises(OSError, match="Too many open files"):
            attachments._watch_mounts()
        assert open_fds() == before
        attachments._watch_mounts()
        attachments.stop()
        assert open_fds() == before

    asyncio.run(run())
