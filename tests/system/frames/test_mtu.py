"""Partitions with any MTU from 576 to 65000, both ends alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.traffic.frames import EXPERIMENTAL, Tap, frame
from tests.framework.traffic.streams import connect, exchange, iperf
from tests.system.conftest import Pair

IP_AND_ICMP = 28


@pytest.fixture(params=[576, 1500, 9000, 65000])
def mtu(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def alike(shared: Fabric, mtu: int) -> Iterator[Pair]:
    """Two partitions with the MTU of the test."""
    pair = shared.add("left", "10.79.0.1/24", mtu=mtu), shared.add("right", "10.79.0.2/24", mtu=mtu)
    yield pair
    for partition in pair:
        shared.cli("partition", "remove", partition.name)


def test_traffic_with_mtu(alike: Pair, mtu: int) -> None:
    left, right = alike
    assert left.info["mtu"] == mtu
    assert f"mtu {mtu} " in left.run(["ip", "link", "show", left.ifname]).stdout

    largest = str(mtu - IP_AND_ICMP)
    assert left.ping(right.ip, "-M", "do", "-s", largest, count=10).lost == 0
    assert left.ping(right.ip, "-s", "65000", count=3).lost == 0

    exchange(*connect(left, right, right.ip), 8 << 20, back=8 << 20)
    assert iperf(left, right)["sum_received"]["bytes"] > 1 << 20

    sender, receiver = Tap(left), Tap(right, EXPERIMENTAL)
    payload = b"full" + bytes(mtu - 4)
    sender.send(frame(right.mac, left.mac, EXPERIMENTAL, payload))
    assert receiver.receive(b"full")[-1].payload == payload


def test_mtu_changed_within_the_partition(shared: Fabric) -> None:
    """Whoever is root in a partition may set the interface's MTU; traffic follows."""
    left, right = shared.add("here", "10.79.1.1/24"), shared.add("there", "10.79.1.2/24")
    for partition in (left, right):
        partition.run(["ip", "link", "set", partition.ifname, "mtu", "4000"])
    assert left.ping(right.ip, "-M", "do", "-s", str(4000 - IP_AND_ICMP), count=5).lost == 0
    exchange(*connect(left, right, right.ip), 1 << 20)
