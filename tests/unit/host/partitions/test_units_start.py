"""A unit that systemd does not start is not waited for: it is as good as a daemon that has died."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vnicd.config import Paths
from vnicd.errors import VnicdError
from vnicd.host.partitions import systemd_units
from vnicd.host.partitions.systemd_units import Units
from vnicd.host.ports.port import Port, Stage
from vnicd.spec.partition import make_partition


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (VnicdError("systemctl can't be run: Too many open files"), "Too many open files"),
        (False, "vnicd-partition@blue.service can't be started"),
        (True, ""),
    ],
)
def test_who_tries_again_is_told(
    outcome: bool | VnicdError, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def systemctl(*_: str) -> bool:
        if isinstance(outcome, VnicdError):
            raise outcome
        return outcome

    monkeypatch.setattr(systemd_units, "systemctl", systemctl)

    async def run() -> tuple[list[Port], str]:
        dead: list[Port] = []
        units = Units(Paths(tmp_path), dead.append)
        port = Port(make_partition("blue"), 1, Stage.MEMBER)
        units.start(port)
        await units.settle()
        return dead, units.deaths_of(port).words

    dead, told = asyncio.run(run())
    assert len(dead) == (outcome is not True)
    assert told.endswith(words)
