"""Links: made on the first unicast frame, told about by `links`, given back when idle."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import open_files
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import Flow
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, Tap, frame
from tests.framework.traffic.streams import connect, exchange
from tests.framework.waiting import holds_for, is_stopped, wait_until
from tests.system.conftest import MakeFabric


def test_a_pair_without_traffic_has_no_link(shared: Fabric) -> None:
    one, other = shared.add("qa", "10.81.1.1/24"), shared.add("qb", "10.81.1.2/24")
    link = shared.link(one, other)
    assert (link["path"], link["state"], link["page_size"]) == ("relay", "none", None)


def test_broadcast_alone_makes_no_link(shared: Fabric) -> None:
    one, other = shared.add("ba"), shared.add("bb")
    sender, receiver = Tap(one), Tap(other, EXPERIMENTAL)
    for _ in range(20):
        sender.send(frame(BROADCAST, one.mac, EXPERIMENTAL, b"hello"))
        receiver.receive(b"hello")
    holds_for(lambda: shared.path(one, other) == "relay", 0.3, "the relay carries broadcasts")


def test_the_first_unicast_frame_makes_a_link(shared: Fabric) -> None:
    one, other = shared.add("ua"), shared.add("ub")
    sender, receiver = Tap(one), Tap(other, EXPERIMENTAL)
    sender.send(frame(other.mac, one.mac, EXPERIMENTAL, b"first"))
    receiver.receive(b"first")
    shared.wait_path(one, other, "direct", timeout=5)
    link = shared.link(one, other)
    assert link["state"] == "up"
    assert link["page_size"] in (4096, 2 << 20)


def test_links_lists_every_pair_once_and_the_host_first(fabric: Fabric) -> None:
    fabric.up()
    names = [fabric.add(label).name for label in ("a", "b", "c")]
    pairs = [tuple(link["ports"]) for link in fabric.json("links")["links"]]
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) == 6
    assert {frozenset(pair) for pair in pairs if "host" in pair} == {
        frozenset(("host", name)) for name in names
    }
    assert all(pair[0] == "host" for pair in pairs if "host" in pair)


def direction(link: dict[str, Any], sender: Partition) -> dict[str, Any]:
    return next(one for one in link["directions"] if one["from"] == sender.name)


def test_links_counts_frames_and_bytes(shared: Fabric) -> None:
    one, other = shared.add("ca"), shared.add("cb")
    sender, receiver = Tap(one), Tap(other, EXPERIMENTAL)
    before = direction(shared.link(one, other), one)
    raw = frame(other.mac, one.mac, EXPERIMENTAL, b"counted" + bytes(79))
    for _ in range(100):
        sender.send(raw)
        receiver.receive(b"counted")

    def grown(field: str) -> int:
        return int(direction(shared.link(one, other), one)[field] - before[field])

    wait_until(lambda: grown("frames") == 100, 5, "100 frames are counted")
    assert grown("bytes") == 100 * len(raw)
    assert grown("wakeups") <= 100
    back = direction(shared.link(one, other), other)
    assert (back["to"], back["drops"]) == (one.name, {})


def test_an_idle_link_is_given_back_with_its_memory(make_fabric: MakeFabric) -> None:
    fabric = make_fabric().up("--idle-timeout", "0.5")
    one, other = fabric.add("ia", "10.82.0.1/24"), fabric.add("ib", "10.82.0.2/24")

    def open_counts() -> list[int]:
        return [len(open_files(partition.pid)) for partition in (one, other)]

    memory, files = fabric.memory(), open_counts()
    for _ in range(2):
        assert one.ping(other.ip, count=20).lost == 0
        fabric.wait_path(one, other, "direct")
        assert fabric.memory() == memory + 2
        fabric.wait_path(one, other, "relay", timeout=5)
        wait_until(lambda: fabric.memory() == memory, 5, "the link's memory is free again")
        wait_until(lambda: open_counts() == files, 5, "the link's descriptors are closed")


def test_a_busy_link_is_kept(make_fabric: MakeFabric) -> None:
    """Also when frames go one way only."""
    fabric = make_fabric().up("--idle-timeout", "0.5")
    one, other = fabric.add("ka", "10.82.1.1/24"), fabric.add("kb", "10.82.1.2/24")
    one.know(other)
    with Flow(one, other) as flow:
        flow.send(100, 0.2)
        fabric.wait_path(one, other, "direct")
        for _ in range(15):
            flow.send(20, 0.1)
            assert fabric.path(one, other) == "direct"
        flow.check()


@pytest.mark.parametrize("command", ["links", "status", "stats"])
def test_the_tables_name_both_partitions(shared: Fabric, command: str) -> None:
    one, other = shared.add(f"{command}a"), shared.add(f"{command}b")
    text = shared.cli(command).stdout
    assert one.name in text
    assert other.name in text


def test_fresh_partitions_with_streams_at_once(fabric: Fabric) -> None:
    """Links that are made while everything else begins are made in time, and nothing is lost for want of one."""
    fabric.up()
    with ThreadPoolExecutor(6) as pool:
        fresh = list(pool.map(lambda number: fabric.add(f"p{number}", f"10.84.1.{number}/24"), range(1, 11)))
        pairs = [(fresh[at], fresh[at + 1]) for at in (0, 2, 4)]
        exchanged = [
            pool.submit(lambda one, other: exchange(*connect(one, other, other.ip), 64 << 20), one, other)
            for one, other in pairs
        ]
        for each in exchanged:
            each.result()
    for one, other in pairs:
        fabric.wait_path(one, other, "direct")
    assert "not finished in time" not in fabric.logs()
    assert not [port["name"] for port in fabric.json("stats")["ports"] if port["drops"].get("no_link")]


def test_the_memory_of_a_link_is_shown_also_of_a_daemon_that_is_stopped(shared: Fabric) -> None:
    one, other = shared.add("da"), shared.add("db")
    sender, receiver = Tap(one), Tap(other, EXPERIMENTAL)
    raw = frame(other.mac, one.mac, EXPERIMENTAL, b"counted" + bytes(79))
    sender.send(raw)
    shared.wait_path(one, other, "direct")
    sender.send(raw)

    def there() -> dict[str, Any]:
        ways = shared.json("debug", "link", one.name, other.name)["directions"]
        return next(way for way in ways if way["from"] == one.name)

    for _ in range(2):
        receiver.receive(b"counted")
    wait_until(lambda: there()["unread"] == 0 and there()["is_armed"], 10, "all is read, and the loop sleeps")
    before = there()["head"]
    os.kill(other.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: is_stopped(other.pid), 10, "all its threads are stopped")
        sender.send(raw)
        wait_until(lambda: there()["unread"] > 0, 10, "it waits in the ring")
        assert there()["head"] == before + there()["unread"] and not there()["is_armed"]
    finally:
        os.kill(other.pid, signal.SIGCONT)
    wait_until(lambda: there()["unread"] == 0, 10, "it is read")
    done = shared.cli("debug", "link", one.name, one.name, check=False)
    assert (done.returncode, done.stdout) == (5, "") and "have no link" in done.stderr
