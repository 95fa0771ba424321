"""Tunnels between a partition and the world: their super-frames arrive, in each mode of the uplink."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.streams import MEGABYTE, iperf
from tests.framework.traffic.traffic import carry
from tests.framework.uplink.uplink import MODES, Machine, Uplinked

VXLAN = ("type", "vxlan", "id", "42", "dstport", "4789")
KINDS = {
    "vxlan": (4, (*VXLAN, "noudpcsum")),
    "vxlan-csum": (4, (*VXLAN, "udpcsum")),
    "vxlan6": (6, (*VXLAN, "udp6zerocsumtx", "udp6zerocsumrx")),
    "vxlan6-csum": (6, VXLAN),
    "geneve": (4, ("type", "geneve", "id", "42", "udpcsum")),
    "gretap": (4, ("type", "gretap")),
}
"""The outer IP version, and arguments of `ip link add`."""

BUSY = {"ring_full"}
"""What a receiver that a busy machine gives no time loses, of any traffic."""


@contextmanager
def tunnel(
    one: Partition, other: Partition, kind: str, far: str = ""
) -> Iterator[tuple[Partition, Partition]]:
    """Both ends of a tunnel as partitions of their own; `far` is where `other` finds `one`, if not at its address."""
    version, words = KINDS[kind]
    ends = []
    with ExitStack() as stack:
        for number, near, peer in ((1, one, ""), (2, other, far)):
            local, remote = (
                (each.ip, each.ip6)[version == 6] for each in (near, other if near is one else one)
            )
            argv = ["ip", "link", "add", "tunnel", *words, "remote", peer or remote]
            try:
                near.run([*argv, "local", local] if kind != "geneve" else argv)
            except AssertionError as error:
                if "Unknown device type" in str(error):
                    pytest.skip(f"this kernel has no {kind}")
                raise
            stack.callback(near.run, ["ip", "link", "del", "tunnel"])
            addresses = (f"10.9.0.{number}/24", f"fd00:9::{number}/64")
            for address in addresses:
                near.run(["ip", "addr", "add", address, "dev", "tunnel", *["nodad"] * (":" in address)])
            near.run(["ip", "link", "set", "tunnel", "up"])
            ends.append(replace(near, addresses=addresses))
        yield ends[0], ends[1]


def drops(machine: Machine) -> dict[str, int]:
    """All frames that were dropped, by reason."""
    found: dict[str, int] = {}
    for port in machine.fabric.call("stats")["ports"]:
        for reason, count in port["drops"].items():
            if reason not in BUSY:
                found[reason] = found.get(reason, 0) + count
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("uplinked", MODES[:2], indirect=True)
def test_streams_between_a_partition_and_the_world(uplinked: Uplinked, kind: str) -> None:
    before = drops(uplinked.machine)
    with tunnel(uplinked.web, uplinked.remote, kind) as (web, remote):
        for one, other in ((web, remote), (remote, web)):
            carry(one, other, other.ip, 4 * MEGABYTE)
            carry(one, other, other.ip6, 4 * MEGABYTE)
            assert iperf(one, other)["sum_received"]["bytes"] > 5 * MEGABYTE
    assert drops(uplinked.machine) == before


def sent(end: Partition) -> tuple[int, int]:
    """Frames and bytes that a partition has sent."""
    (port,) = end.fabric.call("stats", name=end.name)["ports"]
    return port["counters"]["tap_rx_frames"], port["counters"]["tap_rx_bytes"]


@pytest.mark.parametrize("uplinked", MODES[:2], indirect=True)
def test_streams_between_partitions(uplinked: Uplinked) -> None:
    """What a partition sends into a tunnel its kernel has cut already."""
    before, frames, size = drops(uplinked.machine), *sent(uplinked.web)
    with tunnel(uplinked.web, uplinked.db, "vxlan-csum") as (web, db):
        carry(web, db, db.ip, 4 * MEGABYTE)
        carry(db, web, web.ip6, 4 * MEGABYTE)
    assert drops(uplinked.machine) == before
    now_frames, now_size = sent(uplinked.web)
    assert now_size - size > 8 * MEGABYTE
    assert (now_size - size) / (now_frames - frames) < 1514


def test_streams_by_a_published_port(machine: Machine) -> None:
    """In nat mode the machine's kernel cuts what it forwards."""
    up = Uplinked.start(machine, "nat")
    machine.fabric.cli("publish", "add", f"4789:{up.web.name}:4789/udp")
    before = drops(machine)
    with tunnel(up.web, up.remote, "vxlan", machine.here.ip) as (near, far):
        carry(near, far, far.ip, 4 * MEGABYTE)
        carry(far, near, near.ip6, 4 * MEGABYTE)
    assert drops(machine) == before
