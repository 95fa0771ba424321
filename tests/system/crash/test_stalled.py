"""One partition's daemon is stopped (SIGSTOP): the others and the control socket do not notice."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import udp
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, Tap, frame
from tests.framework.traffic.streams import connect, exchange
from tests.framework.waiting import is_bearable, pace
from tests.system.conftest import Pair

COMMANDS = [["status"], ["links"], ["stats"], ["partition", "list"]]

_numbers = itertools.count(100)


@pytest.fixture
def victim(shared: Fabric, pair: Pair) -> Iterator[Partition]:
    """A partition of this test alone, without a link to anybody; it is the one that is stopped."""
    number = next(_numbers)
    assert pair
    partition = shared.add(f"v{number}", f"10.77.0.{number}/24")
    yield partition
    shared.cli("partition", "rm", partition.name)


@contextmanager
def stopped(partition: Partition) -> Iterator[None]:
    pid = partition.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def flood(sender: Partition, target: Partition, seconds: float) -> None:
    """Much more than a ring holds."""
    sender.know(target)
    sock = udp(sender, sender.ip)
    for _ in pace(20_000, seconds):
        sock.sendto(bytes(1400), (target.ip, 9))


@pytest.mark.parametrize("path", ["relay", "direct"])
def test_others_go_on(shared: Fabric, pair: Pair, victim: Partition, path: str) -> None:
    """While somebody sends much more to the stopped one than fits; with a link to it and without."""
    blue, green = pair
    assert blue.ping(green.ip, count=20).lost == 0
    if path == "direct":
        assert blue.ping(victim.ip, count=5).lost == 0
        shared.wait_path(blue, victim, "direct")
    with stopped(victim):
        running = blue.start_ping(green.ip, count=150)
        flood(blue, victim, 1)
        assert is_bearable(running.result().lost, 150)
        exchange(*connect(blue, green, green.ip), 8 << 20, back=8 << 20)
        assert blue.ping(victim.ip, "-W", "0.2", count=3).received == 0
    assert blue.ping(victim.ip, count=20).received >= 18


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_command_line_answers(shared: Fabric, pair: Pair, victim: Partition, command: list[str]) -> None:
    pair[0].ping(victim.ip, count=5)
    with stopped(victim):
        pair[0].ping(victim.ip, "-W", "0.2", count=5)
        start = time.monotonic()
        shared.json(*command)
        assert time.monotonic() - start < 2.5


def test_partitions_come_and_go(shared: Fabric, pair: Pair, victim: Partition) -> None:
    with stopped(victim):
        start = time.monotonic()
        new = shared.add("new", "10.77.0.90/24")
        assert pair[0].ping(new.ip, count=20).lost == 0
        shared.wait_path(pair[0], new, "direct")
        shared.cli("partition", "remove", new.name)
        assert time.monotonic() - start < 3
    assert pair[0].ping(victim.ip, count=5).received


def test_broadcasts_reach_the_others(pair: Pair, victim: Partition) -> None:
    """A stopped receiver of broadcasts does not hold the relay up."""
    blue, green = pair
    with stopped(victim):
        sender, receiver = Tap(blue), Tap(green, EXPERIMENTAL)
        for number in range(2000):
            text = f"broadcast {number} ".encode()
            sender.send(frame(BROADCAST, blue.mac, EXPERIMENTAL, text + bytes(1000)))
            assert len(receiver.receive(text)) == 1


def test_a_stopped_partition_can_be_removed(shared: Fabric, pair: Pair) -> None:
    blue, green = pair
    gone = shared.add("gone", "10.77.0.91/24")
    assert blue.ping(gone.ip, count=3).received
    pid = gone.pid
    os.kill(pid, signal.SIGSTOP)
    shared.cli("partition", "remove", gone.name)
    assert pid not in shared.pids()
    assert blue.ping(green.ip, count=20).lost == 0


def test_a_pair_that_was_stopped_together(shared: Fabric, pair: Pair, victim: Partition) -> None:
    """Both ends of a link stopped and continued: it is as before."""
    blue, _ = pair
    assert blue.ping(victim.ip, count=5).lost == 0
    with stopped(blue), stopped(victim):
        assert blue.ping(victim.ip, "-W", "0.2", count=3).received == 0
        shared.json("links")
    assert blue.ping(victim.ip, count=20).received >= 18
    shared.wait_path(blue, victim, "direct")
