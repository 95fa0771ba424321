"""An update that could not be made is made up for at a look: nothing else may happen for a long time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from vnicd.config import Options, Paths
from vnicd.host.names.service import NamesService
from vnicd.host.ports.port import Ports

T = TypeVar("T")


async def kernel(work: Callable[[], T]) -> T:
    return work()


def test_it_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[int]:
        asked: list[int] = []
        problems = [OSError(24, "Too many open files")]

        async def settle() -> None:
            if problems:
                raise problems.pop()

        names = NamesService(
            Paths(tmp_path),
            Options(),
            Ports("/run/x"),
            cast(Any, kernel),
            lambda: asked.append(1),
            lambda: None,
        )
        monkeypatch.setattr(names, "settle_files", settle)
        await names.update({})
        names.look()
        await names.update({})
        names.look()
        return asked

    assert asyncio.run(run()) == [1]
