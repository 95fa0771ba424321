"""Partitions come and go, and the hosting daemon keeps nothing of them."""

from __future__ import annotations

from pathlib import Path

from tests.framework.fabric.fabric import Fabric

WARM_UP, CYCLES = 8, 24
MOST_KIB = 1536
"""Less than 128 KiB for each of the cycles, which is what a namespace's fd reaper takes."""


def resident_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:")))


def come_and_go(fabric: Fabric, times: int) -> None:
    for _ in range(times):
        name = fabric.add("guest", "10.77.0.9/24").name
        fabric.cli("partition", "remove", name)


def test_the_host_does_not_grow(fabric: Fabric) -> None:
    """Also while no program uses direct sockets, so that the exchange's thread sleeps all the time."""
    fabric.up()
    host = fabric.call("status")["fabric"]["pid"]
    come_and_go(fabric, WARM_UP)
    before = resident_kib(host)
    come_and_go(fabric, CYCLES)
    assert resident_kib(host) - before < MOST_KIB
