"""64 partitions and 255, with VNICD_LONG=1: they come up, ping each other, take little memory, and go."""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import hugepages_in_use
from tests.framework.fabric.namespaces import socket_in
from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeFabric
from vnicd.host.links.manager import HUGE_FIRST

SIZES = (8, pytest.param(64, marks=pytest.mark.slow), pytest.param(255, marks=pytest.mark.slow))

Sockets = list[tuple[Partition, socket.socket]]


def most_memory(size: int) -> int:
    """Bytes that all links of a mesh of so many partitions may take."""
    return (8 if size > 64 else 1) << 30


@pytest.fixture(scope="module", params=SIZES)
def size(request: pytest.FixtureRequest) -> int:
    """How many partitions there are."""
    wanted: int = request.param
    return wanted


@pytest.fixture(scope="module")
def fabric(size: int, make_module_fabric: MakeFabric) -> Fabric:
    return make_module_fabric().up()


@pytest.fixture(scope="module")
def partitions(size: int, fabric: Fabric) -> list[Partition]:
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(lambda number: fabric.add(f"p{number}", f"10.85.0.{number}/16"), range(1, size + 1))
        )
    print(f"{size} partitions came up in {time.monotonic() - began:.1f} s")
    return made


@pytest.fixture(scope="module")
def sockets(partitions: list[Partition]) -> Iterator[Sockets]:
    made = [(each, socket_in(each.netns, socket.AF_INET, socket.SOCK_RAW, 1)) for each in partitions]
    yield made
    for _, sock in made:
        sock.close()


def echo_request(number: int) -> bytes:
    header = struct.pack(">BBHHH", 8, 0, 0, number, number)
    total = sum(struct.unpack(">4H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:2] + struct.pack(">H", total ^ 0xFFFF) + header[4:]


def ping(sock: socket.socket, targets: Iterable[str], patience: float = 60) -> None:
    """Get an answer of each, and ask those again that have not answered.

    The kernel has one neighbour table for all namespaces, and when it is full an address is not found at once.
    """
    missing, deadline = set(targets), time.monotonic() + patience
    while missing:
        assert time.monotonic() < deadline, f"no answer from {sorted(missing)}"
        for target in missing:
            with suppress(OSError):  # ENOBUFS: that table is full
                sock.sendto(echo_request(7), (target, 0))
        again = time.monotonic() + 1
        while missing and (left := again - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
            packet, (source, _) = sock.recvfrom(200)
            if packet[20] == 0:
                missing.discard(source)


def test_a_ring_of_neighbours(sockets: Sockets) -> None:
    began = time.monotonic()
    for (_, sock), (after, _) in zip(sockets, [*sockets[1:], sockets[0]], strict=True):
        ping(sock, [after.ip])
    print(f"the ring answered in {time.monotonic() - began:.1f} s")


def memory_of_links(pids: set[int]) -> dict[str, int]:
    """Bytes that links take, by kind: memory files that several daemons have mapped count once."""
    taken: dict[int, tuple[str, int]] = {}
    for pid in pids:
        for file in Path(f"/proc/{pid}/map_files").iterdir():
            if found := re.match(r"/memfd:vnicd-link-(\d+)-(\d+)", str(file.readlink())):
                facts = file.stat()
                kind = "relays" if "0" in found.groups() else "direct links"
                taken[facts.st_ino] = kind, facts.st_blocks * 512
    return {kind: sum(size for each, size in taken.values() if each == kind) for kind, _ in taken.values()}


@pytest.mark.timeout(1200)
def test_a_mesh_takes_little_memory(size: int, fabric: Fabric, sockets: Sockets) -> None:
    """Each pair has pinged once. What a direct link takes is what has passed through it."""
    began = time.monotonic()
    for number, (_, sock) in enumerate(sockets):
        ping(sock, [other.ip for other, _ in sockets[number + 1 :]])
    print(f"{size * (size - 1) // 2} pairs answered in {time.monotonic() - began:.1f} s")
    wait_until(lambda: memory_of_links(fabric.pids()), 10, "there are links")
    taken = memory_of_links(fabric.pids())
    print(
        {kind: f"{size / 2**20:.0f} MiB" for kind, size in taken.items()}, f"{hugepages_in_use()} huge pages"
    )
    assert 0 < sum(taken.values()) <= most_memory(size)
    most = size * min(size - 1, 128)
    huge = size * min(size - 1, HUGE_FIRST) * (2 << 20)
    assert taken["direct links"] <= huge + most * (24 << 10), "one that has had a ping takes pages for that"


@pytest.mark.timeout(300)
def test_they_go(fabric: Fabric, partitions: list[Partition]) -> None:
    """Last in this file: all are taken down in one command."""
    began = time.monotonic()
    fabric.cli("down", timeout=200)
    print(f"{len(partitions)} partitions went in {time.monotonic() - began:.1f} s")
    assert not fabric.pids()
