"""The watch of attachments ends when it is told to, whatever comes at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from vnicd.host.partitions.attachments import Attachments
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
