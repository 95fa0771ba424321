"""Files that were deleted are made anew as soon as that can be: a hosting daemon that ended instead would leave nothing
by which the next one could find its partitions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vnicd.config import Options, Paths
from vnicd.errors import AlreadyRunning, Resources
from vnicd.host import main
from vnicd.host.main import Host

LOCK = cast(Any, SimpleNamespace(is_whole=lambda: True))


@pytest.mark.parametrize(
    ("problem", "ends"),
    [
        (Resources("state.json can't be written: No space left on device"), False),
        (OSError(24, "Too many open files"), False),
        (AlreadyRunning("a hosting daemon runs already"), True),
    ],
)
def test_it_goes_on(problem: Exception, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> int:
        host = Host(Paths(tmp_path), Options(), LOCK)
        tries: list[int] = []

        def restore() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise problem
            host.done.set()

        async def listen() -> None:
            pass

        monkeypatch.setattr(main, "until_tick", lambda: 0.001)
        monkeypatch.setattr(host, "_listen", listen)
        monkeypatch.setattr(host.fabric, "restore_files", restore)
        try:
            await asyncio.wait_for(host._serve(), 10)
        except AlreadyRunning:
            assert ends
        await host.fabric.broker_service.stop()
        host.fabric.actions.close()
        return len(tries)

    assert asyncio.run(run()) == (1 if ends else 2)
