"""A partition sees only what is for it, and sends only as itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.framework.evil import neighbour
from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.fabric.users import program_as
from tests.framework.traffic.datagrams import Flow
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, Tap, frame
from tests.framework.traffic.streams import connect, exchange
from tests.framework.waiting import wait_for_output, wait_until
from tests.system.conftest import MakeFabric, Pair
from vnicd.process import privileges

STRANGER = "02:99:99:99:99:99"
"""A MAC address that no port has."""


@pytest.fixture(scope="module")
def red(shared: Fabric, pair: Pair) -> Partition:
    """A third partition, which listens."""
    assert len(pair) == 2
    return shared.add("red", "10.77.0.3/24", "fd77::3/64")


def test_others_frames_are_not_seen(pair: Pair, red: Partition) -> None:
    """From the first frame on, while it still goes by relay, and with red's interface promiscuous."""
    blue, green = pair
    listener = Tap(red)
    with Flow(blue, green) as flow:
        flow.send(1000, 0.3)
        flow.check()
    exchange(*connect(green, blue, blue.ip), 1 << 20)
    Tap(blue).send(frame(BROADCAST, blue.mac, EXPERIMENTAL, b"end of it"))
    overheard = [
        one for one in listener.receive(b"end of it") if one.to != red.mac and not int(one.to[:2], 16) & 1
    ]
    assert not overheard


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def acting(partition: Partition, *words: str) -> list[str]:
    """The command line of the neighbour's program as the user of a partition's daemon, with no other bonds."""
    become = program_as(user_of(partition.pid), privileges.identity()[1], Path(sys.executable))
    return [*become, "-c", Path(neighbour.__file__).read_text(), *words]


def test_no_daemon_can_reach_another(shared: Fabric, pair: Pair, red: Partition) -> None:
    """Each has a user of its own."""
    blue = pair[0]
    pids = [partition.pid for partition in (*pair, red)]
    users = {user_of(pid) for pid in pids}
    assert len(users) == 3 and 0 not in users
    tries = {}
    for pid in (*pids, shared.host_pid()):
        done = subprocess.run(acting(blue, "reach", str(pid)), capture_output=True, text=True)
        tries[pid] = json.loads(done.stdout)
    own = tries.pop(blue.pid)
    assert own["kill"] == "done", "it is tried as its user"
    for each in tries.values():
        assert set(each) == set(neighbour.TRIES) and set(each.values()) <= neighbour.DENIED, each


def test_no_daemon_starves_another(shared: Fabric, pair: Pair, red: Partition) -> None:
    """With as many descriptors in flight as its user may have: others register, and make links."""
    blue, green = pair
    pipe = subprocess.PIPE
    with subprocess.Popen(acting(red, "hoard"), stdin=pipe, stdout=pipe, bufsize=0) as hoard:
        assert hoard.stdout
        said = wait_for_output(hoard.stdout, b"\n", 20)
        assert said.startswith(b"ETOOMANYREFS "), said
        former = blue.pid
        os.kill(former, signal.SIGKILL)
        blue.wait_revived(former)
        wait_until(lambda: blue.ping(green.ip).lost == 0, 10, "green answers blue")
        shared.wait_path(blue, green, "direct")
        hoard.communicate()


Make = Callable[[Partition, Partition], tuple[str, str]]
WRONG: dict[str, Make] = {
    "bad_source": lambda blue, green: (green.mac, STRANGER),
    "reserved_multicast": lambda blue, green: ("01:80:c2:00:00:0e", blue.mac),
    "no_destination": lambda blue, green: (STRANGER, blue.mac),
    "own_destination": lambda blue, green: (blue.mac, blue.mac),
}


@pytest.mark.parametrize("reason", WRONG)
def test_wrong_frames_are_dropped_and_counted(pair: Pair, red: Partition, reason: str) -> None:
    blue, green = pair
    to, source = WRONG[reason](blue, green)
    sender, listeners = Tap(blue), (Tap(green), Tap(red))
    before = blue.drops[reason]
    for _ in range(10):
        sender.send(frame(to, source, EXPERIMENTAL, b"wrong"))
    sender.send(frame(BROADCAST, blue.mac, EXPERIMENTAL, b"right"))
    for listener in listeners:
        assert not [one for one in listener.receive(b"right") if one.payload == b"wrong"]
    wait_until(lambda: blue.drops[reason] == before + 10, 5, f"10 drops are counted as {reason}")


@pytest.mark.parametrize("low", range(16))
def test_all_reserved_multicast(pair: Pair, low: int) -> None:
    blue, green = pair
    sender, listener = Tap(blue), Tap(green, EXPERIMENTAL)
    sender.send(frame(f"01:80:c2:00:00:{low:02x}", blue.mac, EXPERIMENTAL, b"wrong"))
    sender.send(frame(green.mac, blue.mac, EXPERIMENTAL, b"right"))
    assert [one.payload for one in listener.receive(b"right")] == [b"right"]


@pytest.mark.parametrize("source", ["green", BROADCAST, "01:00:5e:00:00:01", "00:00:00:00:00:00"])
def test_source_that_is_not_ones_own(pair: Pair, source: str) -> None:
    """Another's MAC, a group's or none; broadcast does not go out either."""
    blue, green = pair
    sender, listener = Tap(blue), Tap(green, EXPERIMENTAL)
    before = blue.drops["bad_source"]
    for to in (green.mac, BROADCAST):
        sender.send(frame(to, green.mac if source == "green" else source, EXPERIMENTAL, b"wrong"))
    sender.send(frame(green.mac, blue.mac, EXPERIMENTAL, b"right"))
    assert [one.payload for one in listener.receive(b"right")] == [b"right"]
    wait_until(lambda: blue.drops["bad_source"] == before + 2, 5, "2 drops are counted as bad_source")


def test_a_broadcast_does_not_come_back(pair: Pair) -> None:
    blue, green = pair
    sender, listener = Tap(blue), Tap(green, EXPERIMENTAL)
    sender.send(frame(BROADCAST, blue.mac, EXPERIMENTAL, b"once"))
    Tap(green).send(frame(blue.mac, green.mac, EXPERIMENTAL, b"done"))
    assert sender.receive(b"done")[-1].payload == b"done"
    assert [one.payload for one in listener.receive(b"once")] == [b"once"]


def test_changed_mac_is_not_its_own(shared: Fabric, pair: Pair) -> None:
    """Who is root in a partition can set another MAC; frames with it are dropped and counted."""
    _, green = pair
    odd = shared.add("odd", "10.77.0.9/24")
    odd.run(["ip", "link", "set", odd.ifname, "address", STRANGER])
    assert odd.ping(green.ip, "-W", "0.3", count=2).received == 0
    assert odd.drops["bad_source"] > 0
    odd.run(["ip", "link", "set", odd.ifname, "address", odd.mac])
    odd.run(["ip", "neigh", "flush", "all"])
    assert odd.ping(green.ip, count=5).received


def test_two_fabrics_side_by_side(make_fabric: MakeFabric) -> None:
    """The same addresses in both, and even the same MACs: neither notices the other."""
    fabrics = [make_fabric().up(), make_fabric().up()]
    pairs = []
    for fabric in fabrics:
        one = fabric.add("one", "10.84.0.1/24", mac="02:00:00:00:00:01")
        pairs.append((one, fabric.add("two", "10.84.0.2/24", mac="02:00:00:00:00:02")))
    listener = Tap(pairs[1][1])
    for one, other in pairs:
        assert one.ping(other.ip, count=20).lost == 0
    Tap(pairs[0][0]).send(frame(BROADCAST, pairs[0][0].mac, EXPERIMENTAL, b"of the first"))
    Tap(pairs[1][0]).send(frame(BROADCAST, pairs[1][0].mac, EXPERIMENTAL, b"of the second"))
    assert b"of the first" not in {one.payload for one in listener.receive(b"of the second")}

    running = pairs[1][0].start_ping(pairs[1][1].ip, count=100)
    fabrics[0].down()
    assert running.result().lost == 0
    assert len(fabrics[1].json("partition", "list")["partitions"]) == 2
