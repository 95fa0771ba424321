"""A fabric that could not be taken down can be told so again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vnicd.config import Options, Paths
from vnicd.errors import NotRunning, TimedOut
from vnicd.host.fabric import Fabric


def test_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        pass

    async def run() -> None:
        fabric = Fabric(Paths(tmp_path), Options(), lambda: None)
        problems = [TimedOut("nft did not end")]

        async def clear() -> None:
            with pytest.raises(NotRunning, match="already"):
                await fabric.take_down()
            if problems:
                raise problems.pop()

        monkeypatch.setattr(fabric.names, "settle_files", nothing)
        monkeypatch.setattr(fabric.leftovers, "remove_all", nothing)
        monkeypatch.setattr(fabric.uplink, "clear", clear)
        with pytest.raises(TimedOut):
            await fabric.take_down()
        assert await fabric.take_down() == {}
        fabric.actions.close()

    asyncio.run(run())
