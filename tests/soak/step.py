"""What a step of a soak is, and what steps have in common: traffic beside them, daemons that are stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.load import Load
from tests.framework.waiting import holds_for, wait_until
from tests.soak.world import REVIVED, World

FEWEST, MOST = 2, 6
"""Partitions that there are at a time."""

Act = Callable[[], None]


@dataclass(frozen=True)
class Step:
    text: str
    act: Act


Plan = Callable[[World], Step]


def pause(seconds: float) -> None:
    """Lets things go on for a time that was chosen at random."""
    holds_for(lambda: True, seconds, "")


def two_pairs(world: World) -> list[tuple[Partition, Partition]]:
    return [world.two() for _ in range(2)]


@contextmanager
def traffic(world: World, pairs: list[tuple[Partition, Partition]]) -> Iterator[None]:
    """A stream, datagrams and pings between two pairs; what arrives must be right whatever happens meanwhile.

    They know each other's MAC address: a kernel that has to find it again lets new datagrams overtake others.
    """
    for one, other in pairs:
        one.know(other)
    loads = [Load(*pair) for pair in pairs]
    with ExitStack() as stack:
        for load in loads:
            stack.enter_context(load)
        yield
        for load in loads:
            load.wait_until_it_flows(20)
    for one, other in pairs:
        one.forget(other)
    for load in loads:
        load.check_content()


def daemon_of(world: World, victim: Partition) -> int:
    """Its daemon that lives, once there is one."""
    pid = wait_until(
        lambda: next((pid for pid in [victim.info["pid"]] if pid in world.fabric.pids()), 0),
        REVIVED,
        f"{victim.name} has a daemon",
    )
    return int(pid)


@contextmanager
def stopped(world: World, pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if pid in world.fabric.pids():
                os.kill(pid, signal.SIGCONT)


def names(partitions: list[Partition]) -> str:
    return ", ".join(map(name_of, partitions))


def name_of(partition: Partition) -> str:
    return partition.name.split("-")[0]
