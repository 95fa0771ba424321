"""An uplink that can't be set or cleared is what it was, as the state file says; the machine refuses at any step."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from vnicd.config import Options
from vnicd.errors import TimedOut
from vnicd.host.ports.port import Ports
from vnicd.host.uplink.controller import Uplink
from vnicd.spec.uplink import UplinkSpec, make_uplink

SPEC = make_uplink(None, "none", addresses=["10.77.0.254/24"])


class World:
    """An uplink of which each step is noted, and one fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
        self.uplink = Uplink("/run/x", Ports("/run/x"), cast(Any, None), cast(Any, None), Options())
        self.steps: list[str] = []
        self.fails = fails
        monkeypatch.setattr(self.uplink, "sync", self.sync)
        monkeypatch.setattr(self.uplink, "_drop", self.drop)
        monkeypatch.setattr(self.uplink.watch, "open", lambda: self.step("open"))

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.fails:
            self.fails = ""
            raise TimedOut("nft did not end")

    async def sync(self, spec: UplinkSpec | None = None) -> None:
        self.step("sync")

    async def drop(self) -> None:
        self.step("drop")


@pytest.mark.parametrize("fails", ["sync", "open"])
def test_it_is_not_set(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        world = World(monkeypatch, fails)
        with pytest.raises(TimedOut):
            await world.uplink.set(SPEC)
        assert world.uplink.spec is None
        assert world.steps[-1] == "drop"

    asyncio.run(run())


def test_it_is_not_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is followed on, so that what is gone of it comes back."""

    async def run() -> None:
        world = World(monkeypatch, "drop")
        world.uplink.spec = SPEC
        with pytest.raises(TimedOut):
            await world.uplink.clear()
        assert world.uplink.spec == SPEC
        assert world.steps == ["drop", "open"]
        await world.uplink.clear()
        assert world.uplink.spec is None

    asyncio.run(run())
