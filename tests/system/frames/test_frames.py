"""Frames that no protocol of the stack makes: tagged, of unknown type, of every length."""

from __future__ import annotations

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, Tap, frame
from tests.system.conftest import Pair


@pytest.mark.parametrize("to_all", [False, True])
def test_unknown_ethertype(pair: Pair, to_all: bool) -> None:
    blue, green = pair
    sender, receiver = Tap(blue), Tap(green, EXPERIMENTAL)
    to = BROADCAST if to_all else green.mac
    sender.send(frame(to, blue.mac, EXPERIMENTAL, b"nobody knows this"))
    (seen,) = receiver.receive(b"nobody")
    assert (seen.to, seen.source, seen.ethertype, seen.vlan) == (to, blue.mac, EXPERIMENTAL, None)
    assert seen.payload == b"nobody knows this"


@pytest.mark.parametrize("tag", [0x0001, 0x0FFE, 0xE005])
def test_vlan_tagged(pair: Pair, tag: int) -> None:
    """The tag arrives as it was sent, priority bits included."""
    blue, green = pair
    sender, receiver = Tap(blue), Tap(green)
    sender.send(frame(green.mac, blue.mac, EXPERIMENTAL, b"tagged", vlan=tag))
    seen = receiver.receive(b"tagged")[-1]
    assert (seen.ethertype, seen.vlan, seen.payload) == (EXPERIMENTAL, tag, b"tagged")


@pytest.mark.parametrize("size", [0, 1, 45, 46, 47, 1499, 1500])
def test_every_length_arrives_as_it_was(pair: Pair, size: int) -> None:
    blue, green = pair
    sender, receiver = Tap(blue), Tap(green, EXPERIMENTAL)
    payload = bytes(index % 253 for index in range(size))
    sender.send(frame(green.mac, blue.mac, EXPERIMENTAL, payload))
    assert receiver.receive(payload)[-1].payload == payload


def test_vlan_tagged_at_full_size(pair: Pair) -> None:
    """The tag's four bytes come on top of the MTU."""
    blue, green = pair
    sender, receiver = Tap(blue), Tap(green)
    payload = b"full" + bytes(1496)
    sender.send(frame(green.mac, blue.mac, EXPERIMENTAL, payload, vlan=7))
    assert receiver.receive(b"full")[-1].payload == payload


def test_order_of_mixed_sizes(pair: Pair) -> None:
    """Small and large frames of one flow keep their order, also where the ring wraps."""
    blue, green = pair
    sender, receiver = Tap(blue), Tap(green, EXPERIMENTAL)
    sizes = [(number * 379) % 1400 + 60 for number in range(2000)]
    seen = []
    for start in range(0, len(sizes), 50):
        for number in range(start, start + 50):
            payload = number.to_bytes(4, "big") + bytes(sizes[number])
            sender.send(frame(green.mac, blue.mac, EXPERIMENTAL, payload))
        seen += receiver.receive((start + 49).to_bytes(4, "big"))
    assert [int.from_bytes(one.payload[:4], "big") for one in seen] == list(range(len(sizes)))
    assert [len(one.payload) - 4 for one in seen] == sizes


def test_vlan_interfaces(pair: Pair) -> None:
    blue, green = pair
    for partition, address in ((blue, "10.78.5.1/24"), (green, "10.78.5.2/24")):
        made = ["ip", "link", "add", "link", partition.ifname, "name", "v5", "type", "vlan", "id", "5"]
        done = partition.run(made, check=False)
        if "Unknown device type" in done.stderr:
            pytest.skip("this kernel has no VLAN interfaces (CONFIG_VLAN_8021Q)")
        assert done.returncode == 0, done.stderr
        partition.run(["ip", "addr", "add", address, "dev", "v5"])
        partition.run(["ip", "link", "set", "v5", "up"])
    try:
        assert blue.ping("10.78.5.2", count=20).lost == 0
        assert blue.ping("10.78.5.2", "-s", "8000", count=5).lost == 0
    finally:
        for partition in pair:
            partition.run(["ip", "link", "del", "v5"])


@pytest.mark.parametrize("target", ["10.77.0.2", "fd77::2"])
def test_a_question_for_a_neighbour_reaches_its_port_alone(shared: Fabric, pair: Pair, target: str) -> None:
    """Nobody else is woken for it."""
    blue, green = pair
    third = shared.add("third" + target[:2], "10.77.0.77/24" if "." in target else "fd77::77/64")
    seen = Tap(third)
    assert target in [address.partition("/")[0] for address in green.addresses]
    blue.run(["ip", "neigh", "flush", "all"])
    assert blue.ping(target, count=2).lost == 0
    Tap(blue).send(frame(BROADCAST, blue.mac, EXPERIMENTAL, b"the end"))
    told = [each for each in seen.receive(b"the end") if each.source == blue.mac]
    assert not [each for each in told if each.ethertype == 0x0806 or each.payload[40:41] == b"\x87"]
