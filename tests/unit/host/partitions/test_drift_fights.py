"""Fights over an interface: what is changed again and again is put back less and less often, and logged twice."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest

from vnicd.host.partitions import drift as drift_module
from vnicd.host.partitions.drift import FIGHT_TIMES, PAUSE_MOST_S, DriftWatch, Fight
from vnicd.host.ports.port import Port, Ports
from vnicd.kernel.drift.mending import IsDue, Outcome
from vnicd.spec.drift import Drift, Seen, drift, to_mend
from vnicd.spec.partition import PartitionSpec, make_partition

T = TypeVar("T")
TICK = 2.0


def test_pauses_grow_and_end() -> None:
    fight, now, tries = Fight(), 0.0, []
    while now < 3600:
        if fight.is_due(now):
            tries.append(now)
            fight.note(now, is_refused=False)
        now += TICK
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[:3] == [2, 4, 8]
    assert max(gaps) <= PAUSE_MOST_S + TICK
    assert len(tries) < 25
    assert fight.note(now + 2 * PAUSE_MOST_S + 100, is_refused=False) == 1


class World:
    """A watch of one partition whose interface somebody else changes whenever it is looked at."""

    def __init__(self, owned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.tries, self.refusal = 100.0, 0, ""
        spec = make_partition("blue", ("10.0.0.1/24", "fd00::1/64"), "02:00:00:00:00:01", None)
        self.ports = Ports("test")
        self.port = self.ports.insert(Port(spec if owned else replace(spec, netns="/run/netns/x"), 1))
        self.port.added()
        self.whole = Seen(2, "vnic0", spec.mac, 1500, True, False, spec.addresses, (), True, 100)
        self.watch = DriftWatch(self.ports, self.kernel, lambda port: True)
        monkeypatch.setattr(drift_module.mending, "mend", self.mend)
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)

    def kernel(self, work: Callable[[], T]) -> Awaitable[T]:
        async def done() -> T:
            return work()

        return done()

    def mend(self, spec: PartitionSpec, fd: int, mtu: int | None, dropped: bool, is_due: IsDue) -> Outcome:
        self.tries += 1
        seen = self.port.seen
        assert seen is not None
        due: list[Drift] = [
            each for each in to_mend(drift(spec, mtu, seen), seen, spec.owns_netns, dropped) if is_due(each)
        ]
        if self.refusal:
            return Outcome([], [(each, self.refusal) for each in due])
        return Outcome(due, [])

    async def ticks(self, count: int, seen: Seen) -> None:
        """So many looks find this, and then nothing wrong."""
        self.port.tap = 0
        for _ in range(count):
            self.now += TICK
            self.watch._note(self.port, seen, is_stopped=False)
            if self.watch._has_to_mend(self.port):
                await self.watch._mend(self.port)
        self.port.tap = -1


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    caplog.set_level(logging.INFO)
    yield lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("refusal", ["", "no"])
def test_a_fight_is_backed_off_and_logged_twice(
    monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[str]], refusal: str
) -> None:
    async def main() -> None:
        world = World(True, monkeypatch)
        world.refusal = refusal
        await world.ticks(1, replace(world.whole, mtu=1400))
        assert world.port.mended == (0 if refusal else 1)
        assert world.watch.fought_over(world.port) == 0
        await world.ticks(300, replace(world.whole, mtu=1400))
        assert world.tries < 15
        assert world.watch.fought_over(world.port) >= FIGHT_TIMES
        assert len(lines()) == 2
        await world.ticks(1, world.whole)
        world.now += 3600
        assert world.watch.fought_over(world.port) == 0
        await world.ticks(1, replace(world.whole, mtu=1400))
        assert len(lines()) == 3
        world.port.counters.close()

    asyncio.run(main())


@pytest.mark.parametrize("owned", [True, False])
def test_setting_it_down_and_up_is_no_fight(
    monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[str]], owned: bool
) -> None:
    async def main() -> None:
        world = World(owned, monkeypatch)
        for round_ in range(20):
            lost = replace(world.whole, addresses=("10.0.0.1/24",), link_local_made=200 + round_)
            await world.ticks(1, replace(lost, addresses=world.whole.addresses, link_local_made=199 + round_))
            await world.ticks(1, lost)
        assert world.port.mended == 20
        assert world.watch.fought_over(world.port) == 0
        assert len(lines()) == 2
        world.port.counters.close()

    asyncio.run(main())


def test_what_is_left_to_its_owner_is_logged_and_not_touched(
    monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[str]]
) -> None:
    async def main() -> None:
        world = World(False, monkeypatch)
        await world.ticks(30, replace(world.whole, mtu=1400, addresses=()))
        assert (world.tries, world.port.mended) == (0, 0)
        assert len(lines()) == 2
        assert [each.kind.value for each in world.port.drift] == ["mtu", "address", "address"]
        world.port.counters.close()

    asyncio.run(main())
