"""A hosting daemon that halts in the step that is named in the file `halt` of its runtime directory.

It has halted as soon as there is the file `halted`, and goes on when nobody holds a lock on `halt`.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vnicd.__main__ import run
from vnicd.config import Paths
from vnicd.host.addition import Addition
from vnicd.host.fabric import Fabric
from vnicd.host.operation import Step
from vnicd.host.partitions.executor import Executor

ROOT = Paths.from_environment().root


async def pass_by(name: str) -> None:
    if not (halt := Path(ROOT, "halt")).exists():
        return
    with halt.open() as file:
        if file.read() == name:
            Path(ROOT, "halted").touch()
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_SH)


def halting(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    async def halt_and_work(*arguments: Any) -> Any:
        await pass_by(name)
        return await work(*arguments)

    return halt_and_work


def patch() -> None:
    steps = Addition.steps

    def all_halting(addition: Addition) -> list[Step]:
        return [replace(step, do=halting(step.name, step.do)) for step in steps(addition)]

    Addition.steps = all_halting  # type: ignore[method-assign]
    for owner, name, step in (
        (Fabric, "_discard", "begin the removal"),
        (Executor, "stop_daemon", "stop its daemon"),
        (Executor, "delete_interface", "delete its interface"),
    ):
        setattr(owner, name, halting(step, getattr(owner, name)))


if __name__ == "__main__":
    patch()
    sys.exit(run(["host"]))
