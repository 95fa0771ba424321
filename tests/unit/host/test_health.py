"""What doctor is told of a fabric that is not as it should be."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from vnicd.config import Options, Paths
from vnicd.errors import Resources
from vnicd.host import health
from vnicd.host.fabric import Fabric
from vnicd.kernel import netns


def test_a_state_that_cannot_be_written_is_a_fault_until_it_can(tmp_path: Path) -> None:
    async def work() -> None:
        paths = Paths(tmp_path)
        fabric = Fabric(paths, Options(), lambda: None)
        assert not await health.examine(fabric)
        obstacle = paths.state.with_suffix(".new")
        obstacle.mkdir()
        with pytest.raises(Resources):
            fabric._save()
        fabric.save_again()
        [found] = await health.examine(fabric)
        assert (found["name"], found["status"]) == ("fabric", "fail")
        assert str(paths.state) in found["detail"]
        assert str(tmp_path) in found["remedy"]
        obstacle.rmdir()
        fabric.save_again()
        assert not await health.examine(fabric)
        fabric.actions.close()

    asyncio.run(work())


def test_nobody_waits_for_the_tables_of_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of the group may ask again and again."""
    threads: list[int] = []

    def look() -> bool:
        threads.append(threading.get_ident())
        return True

    monkeypatch.setattr(netns, "names_are_hidden", look)

    async def work() -> None:
        fabric = Fabric(Paths(tmp_path), Options(), lambda: None)
        [found] = await health.examine(fabric)
        assert "mounts of its own" in found["detail"]
        fabric.actions.close()

    asyncio.run(work())
    assert threading.get_ident() not in threads
