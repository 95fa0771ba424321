"""The crash matrix, partition daemons: each harm in each place, under TCP, UDP and ping; what it costs is bounded.

What covers which cell (M: the matrix's own files; others were there before and are not repeated):

| | kill -9 | SIGSTOP 5 s | SIGTERM | out of memory |
|---|---|---|---|---|
| partition daemon, sending | M, crash_partition | M, stalled | M, crash_partition | M |
| partition daemon, receiving | M, crash_partition | M, stalled | M | M |
| several at once | M, crash_partition | M | M | M |
| during a link's set-up | M | M | M | M |
| the host | M (host), crash_host | M (host), crash_host | M (host) | M (host) |
| during add and remove | M (change), leaving | M (change) | M (change) | M (change) |

Hugepages exhausted: test_hugepages. Runtime directory deleted: test_files. Namespace or interface deleted, interface
down and up: test_healing; the same under traffic, and disk full: test_matrix_surroundings. The clock: unit/test_clock.
A watchdog's kill needs systemd: tests/service. What doctor says meanwhile: test_matrix_doctor.

Several cells run side by side, with partitions of their own on one fabric.
"""

from __future__ import annotations

import itertools
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.harm import HARMS, STOPPED, in_order
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.load import PINGS_PER_SECOND, UDP_PER_SECOND, Load
from tests.framework.waiting import wait_until

BACK_WITHIN = 4.0
"""Seconds without an arrival around a death: a tenth is usual, the rest is for a loaded machine."""

STREAM_BACK_WITHIN = 8.0
"""For TCP: after a silence it tries again later, the longer it lasted."""

RATES = {"udp": UDP_PER_SECOND, "ping": PINGS_PER_SECOND}

PLACES = ("sending", "receiving", "several", "link")

AT_ONCE = 8
"""Cells that run side by side; each waits most of the time."""

_subnets = itertools.count(1)


@dataclass
class Cell:
    """What was seen of one harm in one place."""

    harm: str
    hit: list[Partition]
    old: list[int]
    load: Load
    aside: Load
    ends: tuple[Partition, Partition]
    """Of the load."""


@pytest.fixture(scope="module")
def cells(shared: Fabric) -> dict[tuple[str, str], Cell]:
    """What came of each harm in each place."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {
            (place, harm): pool.submit(_cell, shared, place, harm, next(_subnets))
            for place, harm in in_order(PLACES)
        }
        return {key: cell.result() for key, cell in running.items()}


def _cell(fabric: Fabric, place: str, harm: str, subnet: int) -> Cell:
    label = f"m{subnet}"
    one, other, left, right = (
        fabric.add(f"{label}{letter}", f"10.88.{subnet}.{n}/24") for n, letter in enumerate("abcd", 1)
    )
    hit = {"sending": [one], "several": [one, other]}.get(place, [other])
    old = [each.pid for each in hit]
    aside = Load(left, right)
    if place == "link":
        load = _while_a_link_is_made(fabric, one, other, aside, harm)
        return Cell(harm, hit, old, load, aside, (one, other))
    load = Load(one, other)
    with aside, load:
        load.wait_until_it_flows(10)
        aside.wait_until_it_flows(10)
        _harm_all(harm, old)
        load.wait_until_it_flows(20)
    return Cell(harm, hit, old, load, aside, (one, other))


def _harm_all(harm: str, pids: list[int]) -> None:
    with ThreadPoolExecutor(len(pids)) as pool:
        for done in [pool.submit(HARMS[harm], pid) for pid in pids]:
            done.result()


def _while_a_link_is_made(fabric: Fabric, one: Partition, other: Partition, aside: Load, harm: str) -> Load:
    """Its end at `other` does not answer, because that is stopped; so the harm comes just then."""
    one.know(other)
    other.know(one)
    load = Load(one, other, "udp", "ping")
    pid = other.pid
    os.kill(pid, signal.SIGSTOP)
    with aside, load:
        wait_until(lambda: fabric.link(one, other)["state"] == "making", 5, "the link is being made")
        HARMS[harm](pid)
        load.wait_until_it_flows(20)
    return load


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("place", PLACES)
def test_what_it_costs(shared: Fabric, cells: dict[tuple[str, str], Cell], place: str, harm: str) -> None:
    """The stream is whole, datagrams are lost only for the time it takes, and pairs beside lose nothing."""
    cell = cells[place, harm]
    cell.load.check_content()
    cell.aside.check_content()
    assert all(not cell.aside[kind].lost for kind in ("tcp", "udp", "ping")), str(cell.aside)
    longest = STOPPED if harm == "stop" else 0
    for kind in ("udp", "ping"):
        outcome = cell.load[kind]
        assert outcome.gap < longest + BACK_WITHIN, str(cell.load)
        assert outcome.lost <= (outcome.gap + 1) * RATES[kind], str(cell.load)
    if place != "link":
        assert cell.load["tcp"].gap < longest * 2 + STREAM_BACK_WITHIN, str(cell.load)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_there_afterwards(
    shared: Fabric, cells: dict[tuple[str, str], Cell], place: str, harm: str
) -> None:
    """One new daemon for each that ended, the same for each that was stopped; a direct link, and nothing lost on it."""
    cell = cells[place, harm]
    for victim, old in zip(cell.hit, cell.old, strict=True):
        info = victim.info
        same = harm == "stop"
        assert (info["state"], info["restarts"], info["pid"] == old) == ("up", 0 if same else 1, same)
    one, other = cell.ends
    assert one.ping(other.ip, count=20).lost == 0
    shared.wait_path(one, other, "direct", 10)


@pytest.mark.usefixtures("cells")
def test_nothing_is_left_over(shared: Fabric) -> None:
    wait_until(shared.is_whole, 10, "the daemons have the memory of their links and no other")
