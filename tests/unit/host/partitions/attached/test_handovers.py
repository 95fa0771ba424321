"""Interfaces that are handed over: what is followed, what is remembered, and which end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from vnicd.host.partitions.attached import handovers
from vnicd.host.partitions.attached.handovers import Handovers, changed, kept_gateways
from vnicd.host.partitions.executor import Executor
from vnicd.host.ports.port import Port, Ports, Stage
from vnicd.kernel import tap
from vnicd.kernel.netns import Home
from vnicd.spec.drift import DefaultRoute, Seen
from vnicd.spec.partition import PartitionSpec, make_partition

BIRTH, PLACE = Home(4, 1, 11), Home(4, 2, 12)
SPEC = make_partition(
    "c1", ["10.89.0.2/24"], "02:00:00:00:00:01", netns="/proc/7/ns/net", ifname="vn0", handover=True
)


def seen(*routes: DefaultRoute, is_up: bool = True, knows_routes: bool = True) -> Seen:
    return Seen(3, "eth0", SPEC.mac, 1500, is_up, False, SPEC.addresses, routes, knows_routes, 0)


class World:
    """Where the interface of one partition is, and the follower of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.where: Home | None = BIRTH
        self.name = "vn0"
        self.there = seen()
        self.expired: list[Port] = []
        self.time = 0.0
        ports = Ports("test")
        self.port = ports.insert(Port(SPEC, 1, Stage.MEMBER, tap=9))
        self.port.moves_in(BIRTH)
        monkeypatch.setattr(tap, "whereabouts", lambda fd: self.where.identity if self.where else None)
        monkeypatch.setattr(tap, "name_of", lambda fd: self.name)
        monkeypatch.setattr(handovers, "_arrival", lambda fd: (self.where, "/run/docker/netns/1", self.there))
        monkeypatch.setattr(handovers.kernel_ops, "announce_addresses", lambda place, addresses: None)
        self.handovers = Handovers(ports, cast("Executor", self), lambda: None, self._expire)

    async def kernel(self, work: Callable[[], Any]) -> Any:
        return work()

    async def _expire(self, port: Port) -> None:
        self.expired.append(port)

    def look(self) -> bool:
        """One look; whether there is to be another one soon."""

        async def work() -> bool:
            asyncio.get_running_loop().time = lambda: self.time  # type: ignore[method-assign]
            return await self.handovers._look(self.port)

        return asyncio.run(work())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    found = World(monkeypatch)
    yield found
    found.port.tap = -1
    found.port.counters.close()


def test_it_arrives_when_it_is_set_up(world: World) -> None:
    assert world.port.is_under_way and world.look()
    world.where, world.there = PLACE, seen(is_up=False)
    assert world.look() and world.port.is_under_way
    world.name, world.there = "eth0", seen()
    assert not world.look()
    assert not world.port.is_under_way and world.port.has_programs
    assert (world.port.home, world.port.spec.ifname) == (PLACE, "eth0")
    assert (world.port.spec.netns, world.handovers.is_moved) == ("/run/docker/netns/1", True)
    # A next hosting daemon can read all of it.
    assert PartitionSpec.from_json(world.port.spec.to_json()) == world.port.spec


def test_one_that_is_moved_again_is_followed_at_leisure(world: World) -> None:
    """It is its container's root who does that, and may do it all the time."""
    world.where = PLACE
    world.look()
    world.where, world.there = Home(4, 3, 13), seen(is_up=False)
    assert not world.look()
    world.there = seen()
    assert not world.look()
    assert world.port.home == world.where


def test_one_that_nobody_sets_up_arrives_all_the_same(world: World) -> None:
    world.where, world.there = PLACE, seen(is_up=False)
    assert world.look()
    world.time = handovers.SET_UP_TIMEOUT_S + 1
    assert not world.look()
    assert world.port.home == PLACE


def test_one_that_nobody_takes_ends(world: World) -> None:
    world.look()
    world.time = handovers.TAKE_TIMEOUT_S - 1
    world.look()
    assert not world.expired
    world.time = handovers.TAKE_TIMEOUT_S + 1
    world.look()
    assert world.expired == [world.port]


def test_one_that_was_moved_back_ends_soon(world: World) -> None:
    world.where, world.name = PLACE, "eth0"
    world.look()
    world.where, world.name = BIRTH, "vn0"
    assert world.look()
    assert (world.port.home, world.port.spec.ifname) == (BIRTH, "vn0")
    assert world.port.is_under_way and not world.port.has_programs
    world.time = handovers.RETURN_TIMEOUT_S + 1
    world.look()
    assert world.expired == [world.port]


def test_one_that_is_no_more_is_left_to_others(world: World) -> None:
    world.where = None
    assert not world.look()
    assert not world.expired and not world.handovers.is_moved


OWN = DefaultRoute(4, "10.89.0.1", True, 0)
OTHER = DefaultRoute(4, "10.90.0.1", False, 0)
ADVERTISED = DefaultRoute(4, "10.90.0.1", False, 0, is_advertised=True)


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        ((), seen(OWN), ("10.89.0.1",)),
        (("10.89.0.1",), seen(OWN), ("10.89.0.1",)),
        (("10.89.0.1",), seen(), ("10.89.0.1",)),
        (("10.89.0.1",), seen(OTHER), ()),
        (("10.89.0.1",), seen(ADVERTISED), ("10.89.0.1",)),
        (("10.89.0.1",), seen(OTHER, knows_routes=False), ("10.89.0.1",)),
        (("10.89.0.9",), seen(OWN), ("10.89.0.1",)),
    ],
)
def test_which_gateways_are_kept(before: tuple[str, ...], now: Seen, after: tuple[str, ...]) -> None:
    """One that is lost by accident comes back; one that was replaced does not."""
    spec = changed(SPEC, gateways=list(before))
    assert kept_gateways(spec, now) == after


@pytest.mark.parametrize("gateways", [["192.0.2.1"], ["10.89.0.2"], ["224.0.0.1"], ["10.89.0.255"]])
def test_what_a_containers_root_makes_up_is_not_kept(gateways: list[str]) -> None:
    """Else a next hosting daemon could not read the state."""
    found = changed(SPEC, gateways=gateways)
    assert found.gateways == ()
    assert changed(SPEC, ifname="eth0\n") == SPEC
