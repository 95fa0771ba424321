"""An operation: named steps, each with its undoing. It is done as a whole or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from vnicd.errors import VnicdError

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Step:
    """A step that fails has changed nothing itself; `undo` takes back what it has done once it has succeeded."""

    name: str
    do: Work
    undo: Work | None = None
    waits: bool = False
    """It may be cancelled in the middle. Every other step, once begun, is finished first, and is then undone."""


async def carry_out(what: str, steps: Sequence[Step], give_up: Callable[[], None]) -> None:
    """Take these steps in order. When one fails, or we are cancelled, those before it are undone, the last first.

    `give_up()` is called before the first is undone. An undoing that fails is logged, and no other is left out for it.
    """
    done: list[Step] = []
    try:
        for step in steps:
            await _take(step, done)
    except BaseException:
        give_up()
        for step in reversed(done):
            await _undo(what, step)
        raise


async def _take(step: Step, done: list[Step]) -> None:
    if step.waits:
        await step.do()
        done.append(step)
        return
    work = asyncio.ensure_future(step.do())
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled() and work.exception() is None:
            done.append(step)
        raise
    done.append(step)


async def _undo(what: str, step: Step) -> None:
    if step.undo is None:
        return
    try:
        await step.undo()
    except (VnicdError, OSError) as error:
        log.error("%s: to undo %s: %s", what, step.name, getattr(error, "strerror", None) or error)
