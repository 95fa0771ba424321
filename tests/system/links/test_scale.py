"""Many partitions: every pair talks, broadcasts reach all, idle ones cost nothing."""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import udp
from tests.framework.waiting import holds_for, wait_until
from tests.system.conftest import MakeFabric
from vnicd.host.links.manager import HUGE_FIRST

MANY = 24


@pytest.fixture(scope="module")
def many(make_module_fabric: MakeFabric) -> tuple[Fabric, list[Partition]]:
    fabric = make_module_fabric().up()
    with ThreadPoolExecutor(4) as pool:
        partitions = list(
            pool.map(lambda number: fabric.add(f"p{number}", f"10.83.0.{number}/24"), range(1, MANY + 1))
        )
    return fabric, partitions


def test_broadcast_reaches_all(many: tuple[Fabric, list[Partition]]) -> None:
    first, *others = many[1]
    receivers = [udp(partition, "10.83.0.255", 5010) for partition in others]
    sender = udp(first, first.ip)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for text in (b"one", b"two", b"three"):
        sender.sendto(text, ("10.83.0.255", 5010))
        assert [receiver.recv(100) for receiver in receivers] == [text] * len(others)


def test_all_pairs_ping_and_go_direct(many: tuple[Fabric, list[Partition]]) -> None:
    fabric, partitions = many

    def ping_the_later(number: int) -> list[str]:
        one = partitions[number]
        return [
            f"{one.name} - {other.name}"
            for other in partitions[number + 1 :]
            if one.ping(other.ip, count=1).lost
        ]

    with ThreadPoolExecutor(4) as pool:
        silent = [pair for pairs in pool.map(ping_the_later, range(MANY)) for pair in pairs]
    assert not silent

    named = {partition.name: partition for partition in partitions}

    def all_direct() -> bool:
        """Ask again for what is missing: a link that was refused or not made in time waits for the next frame."""
        relayed = [link["ports"] for link in fabric.json("links")["links"] if link["path"] != "direct"]
        for one, other in relayed:
            if one in named and other in named:
                named[one].ping(named[other].ip, count=1)
        return not relayed

    wait_until(all_direct, 60, "all pairs are direct")
    assert len(fabric.json("links")["links"]) == (MANY + 1) * MANY // 2


def memory_of_links(pids: set[int]) -> int:
    """Bytes that the direct links of these daemons take, those of both ends counted once."""
    taken: dict[int, int] = {}
    for pid in pids:
        for file in Path(f"/proc/{pid}/map_files").iterdir():
            if re.match(r"/memfd:vnicd-link-[1-9]\d*-[1-9]", str(file.readlink())):
                facts = file.stat()
                taken[facts.st_ino] = facts.st_blocks * 512
    return sum(taken.values())


def test_a_mesh_that_says_little_takes_little_memory(many: tuple[Fabric, list[Partition]]) -> None:
    """A mesh of 64 takes less than 1 GiB: 256 MiB for relays, 512 for first links, 24 KiB for each other end."""
    taken = memory_of_links({partition.pid for partition in many[1]})
    ends, huge = MANY * (MANY - 1), MANY * HUGE_FIRST * (2 << 20)
    print(f"{taken / ends / 1024:.1f} KiB for each end of a link")
    assert 0 < taken <= huge + ends * (24 << 10)


def cpu_seconds(pids: set[int]) -> float:
    """Time that all threads of the processes have used."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def sleeps(pids: set[int]) -> int:
    """How often threads of the processes have gone to sleep."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(file.read_text().split("voluntary_ctxt_switches:")[1].split()[0]) for file in files)


@pytest.mark.timeout(300)
def test_idle_partitions_use_no_cpu(many: tuple[Fabric, list[Partition]]) -> None:
    """All daemons together wake up at most five times a second, also with a direct link between each two.

    Two of them are the looks at what nobody tells, every two seconds; a look at interfaces is a thread's, which sleeps
    a few times in it.

    That is what can be counted. What a wake-up costs depends on the machine: in a virtual machine whose host takes
    back the memory that was not in use for a second, the first run of a piece of Python takes 25 times as long as the
    next, and a look of the host's takes 20 to 50 ms instead of 2. So the time is held to a bound that shows polling.
    """
    fabric, partitions = many
    for partition in partitions:
        # or the kernel asks for some seconds whether those that were talked to are still there
        partition.run(["ip", "neigh", "flush", "all"])
    pids = fabric.pids()
    assert len(pids) == MANY + 1
    seconds = 4.0
    last = ""

    def at_rest() -> bool:
        nonlocal last
        before, slept = cpu_seconds(pids), sleeps(pids)
        holds_for(lambda: True, seconds, "nothing happens")
        used, woken = cpu_seconds(pids) - before, sleeps(pids) - slept
        last = f"{used / seconds:.2%} of a core, {woken} wake-ups in {seconds:.0f} s"
        return woken <= 5 * seconds and used <= 0.1 * seconds

    try:
        wait_until(at_rest, 240, "the kernels have said all that new interfaces have to say, and it is quiet")
    finally:
        print(last)


def test_memory_of_a_partition_daemon(many: tuple[Fabric, list[Partition]]) -> None:
    """At most 16 MiB of its own without the rings, which are memfds."""
    for partition in many[1][:3]:
        assert private_bytes(partition.pid) <= 16 << 20


def private_bytes(pid: int) -> int:
    """PSS of a process without its memfds."""
    total, counts = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if "-" in first and not first.endswith(":"):
            counts = "memfd:" not in line
        elif first == "Pss:" and counts:
            total += int(line.split()[1]) << 10
    return total


def test_a_removed_partition_makes_room(many: tuple[Fabric, list[Partition]]) -> None:
    """Its name, address and port can be used again, and the others notice nothing."""
    fabric, partitions = many
    first, gone = partitions[0], partitions[-1]
    for _ in range(2):
        fabric.cli("partition", "remove", gone.name)
        fabric.add(f"p{MANY}", f"10.83.0.{MANY}/24")
        assert first.ping(gone.ip, count=2).received
    assert first.ping(partitions[1].ip, count=20).lost == 0
