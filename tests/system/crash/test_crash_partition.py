"""A partition daemon is killed: its interface stays, its peers drop the link, and it comes back by itself."""

from __future__ import annotations

import itertools
import os
import signal
import time
from functools import partial

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import udp
from tests.framework.traffic.streams import connect, exchange, receive_exactly
from tests.framework.waiting import pace, wait_until

BACK_WITHIN = 3.0
"""Seconds until traffic is back: a second is aimed at, the rest is for a loaded machine."""

Three = tuple[Partition, Partition, Partition]

_subnets = itertools.count(1)


@pytest.fixture
def three(shared: Fabric) -> Three:
    """Partitions that the other tests of the module do not have."""
    subnet = next(_subnets)
    label = f"k{subnet}"
    partitions = [
        shared.add(f"{label}{letter}", f"10.86.{subnet}.{n}/24") for n, letter in enumerate("abc", 1)
    ]
    return partitions[0], partitions[1], partitions[2]


def kill(partition: Partition) -> int:
    """Kills the partition's daemon with -9; returns the process id that it had."""
    pid = partition.pid
    os.kill(pid, signal.SIGKILL)
    return pid


def answers(sender: Partition, target: Partition) -> bool:
    return sender.ping(target.ip, "-W", "0.2", count=1).received == 1


def test_interface_addresses_and_routes_stay(three: Three) -> None:
    victim, peer, _ = three
    peer.ping(victim.ip, count=20)
    victim.run(["ip", "addr", "add", "10.86.250.1/24", "dev", victim.ifname])
    victim.run(["ip", "route", "add", "10.99.0.0/16", "via", peer.ip])
    victim.run(["ip", "neigh", "replace", "10.86.250.7", "lladdr", "02:00:00:00:00:77", "dev", victim.ifname])

    def network() -> list[str]:
        shown = [victim.run(["ip", *words]).stdout for words in (["-br", "addr"], ["route"], ["-6", "route"])]
        return [*shown, victim.run(["ip", "neigh", "show", "nud", "permanent"]).stdout]

    before = network()
    old = kill(victim)
    start = time.monotonic()
    wait_until(lambda: answers(peer, victim), BACK_WITHIN, "the ping is back")
    assert time.monotonic() - start < BACK_WITHIN
    victim.wait_revived(old, BACK_WITHIN)
    assert network() == before
    assert (victim.info["restarts"], victim.info["generation"]) == (1, 2)


def test_traffic_comes_back_on_a_direct_link(shared: Fabric, three: Three) -> None:
    victim, peer, _ = three
    peer.ping(victim.ip, count=20)
    shared.wait_path(victim, peer, "direct")
    old = kill(victim)
    victim.wait_revived(old, BACK_WITHIN)
    wait_until(lambda: answers(peer, victim), BACK_WITHIN, "the ping is back")
    assert peer.ping(victim.ip, count=20).lost == 0
    shared.wait_path(victim, peer, "direct")
    assert victim.ping(peer.ip, count=20).lost == 0


def test_a_connection_survives(three: Three) -> None:
    """The kernel's TCP retransmits what the dead daemon had; no byte is lost."""
    victim, peer, _ = three
    near, far = connect(victim, peer, peer.ip)
    near.send(b"before")
    assert receive_exactly(far, 6) == b"before"
    victim.wait_revived(kill(victim), BACK_WITHIN)
    near.send(b"after")
    assert receive_exactly(far, 5) == b"after"
    exchange(near, far, 16 << 20, back=16 << 20)


def test_others_do_not_notice(three: Three) -> None:
    victim, peer, other = three
    peer.ping(other.ip, count=5)
    peer.ping(victim.ip, count=5)
    running = peer.start_ping(other.ip, count=100)
    victim.wait_revived(kill(victim), BACK_WITHIN)
    assert running.result().lost == 0


def test_killed_while_it_sends_and_receives(fabric: Fabric) -> None:
    """Memory of the dead link is given back, however often that happens."""
    fabric.up()
    victim, peer, other = (fabric.add(label, f"10.86.0.{n}/24") for n, label in enumerate("abc", 1))
    for partition in (peer, other):
        victim.know(partition)
        partition.know(victim)
    memory = []
    for _ in range(4):
        socks = [(udp(victim, victim.ip), peer), (udp(peer, peer.ip), victim), (udp(other, other.ip), victim)]
        for number in pace(5000, 0.3):
            sock, target = socks[number % 3]
            sock.sendto(bytes(1000), (target.ip, 9))
            if number == 1000:
                old = kill(victim)
        victim.wait_revived(old, BACK_WITHIN)
        for partition in (peer, other):
            wait_until(partial(answers, partition, victim), BACK_WITHIN, "the ping is back")
            fabric.wait_path(partition, victim, "direct")
        memory.append(fabric.memory())
    assert victim.info["restarts"] == 4
    wait_until(lambda: fabric.memory() <= memory[0], 3, f"no memory is kept: {memory}")


def test_several_at_once(three: Three) -> None:
    for one in three:
        for other in three:
            if one is not other:
                one.ping(other.ip, count=2)
    old = [kill(partition) for partition in three]
    for partition, pid in zip(three, old, strict=True):
        partition.wait_revived(pid, BACK_WITHIN)
    for one in three:
        for other in three:
            if one is not other:
                wait_until(partial(answers, one, other), BACK_WITHIN, f"{one.name} reaches {other.name}")


def test_terminated_daemon_is_started_again(three: Three) -> None:
    """SIGTERM from outside is not a removal."""
    victim, peer, _ = three
    old = victim.pid
    os.kill(old, signal.SIGTERM)
    victim.wait_revived(old, BACK_WITHIN)
    wait_until(lambda: answers(peer, victim), BACK_WITHIN, "the ping is back")
