"""A look for which no thread can be started leaves no work behind that would close descriptors of others later."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

import pytest

from vnicd.host.partitions.drift import DriftWatch
from vnicd.host.ports.port import Port, Ports, Stage
from vnicd.kernel import tap
from vnicd.spec.partition import make_partition


class Executor:
    """As ThreadPoolExecutor: the work is in its queue before it tries to start a thread."""

    def __init__(self) -> None:
        self.queue: list[tuple[Any, ...]] = []

    def submit(self, work: Any, *args: Any) -> None:
        self.queue.append(args)
        raise RuntimeError("can't start new thread")


def test_what_was_to_be_looked_at_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def namespace(fd: int) -> int:
        made.append(os.open(os.devnull, os.O_RDONLY))
        return made[-1]

    monkeypatch.setattr(tap, "name_of", lambda fd: "vnic0")
    monkeypatch.setattr(tap, "namespace", namespace)

    async def run() -> list[tuple[Any, ...]]:
        ports = Ports("/run/x")
        ports.insert(Port(make_partition("blue"), 1, Stage.MEMBER))
        watch = DriftWatch(ports, cast(Any, None), lambda port: True)
        watch.thread = cast(Any, executor := Executor())
        await watch._look_at_all()
        return executor.queue

    assert [stops for stops, *_ in asyncio.run(run())] == [{}]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])
