"""Broadcasts: questions for a neighbour that the directory answers, and how much one sender may have copied."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest

from tests.framework.datapath.loops import LoopBench
from tests.framework.datapath.peer import frame, mac_bytes
from tests.framework.datapath.uplinks import NIC, UplinkBench
from tests.framework.waiting import wait_until
from tests.unit.datapath.loop.test_loop_uplink import arp
from vnicd.native import directory
from vnicd.native.testing import ring

ME, A, B = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
BROADCAST, NOBODY, OUTSIDE = "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:00:00:00:00:99"
IP_ME, IP_A, IP_B = "10.0.0.1", "10.0.0.2", "10.0.0.3"
V6_ME, V6_A = "fd00::1", "fd00::2"


@pytest.fixture
def bench() -> Iterator[LoopBench]:
    with LoopBench(1, {1: ME, 2: A, 3: B}) as bench:
        for port, addresses in {1: [IP_ME, V6_ME], 2: [IP_A, V6_A], 3: [IP_B]}.items():
            bench.directory.put(port, directory.LIVE, bench.macs[port], 1, 1500, addresses)
        bench.relay()
        yield bench


@pytest.fixture
def guarded(bench: LoopBench) -> LoopBench:
    bench.directory.set_flags(directory.GUARD)
    return bench


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def icmp6(to: str, source_mac: str, source: str, target: str, body: bytes) -> bytes:
    """An ICMPv6 packet with a valid checksum; `body` has zeros for it."""
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(target).packed
    pseudo = addresses + struct.pack(">II", len(body), 58)
    body = body[:2] + struct.pack(">H", checksum(pseudo + body)) + body[4:]
    header = struct.pack(">IHBB", 0x6000_0000, len(body), 58, 255) + addresses
    return mac_bytes(to) + mac_bytes(source_mac) + b"\x86\xdd" + header + body


def solicitation(sought: str, source: str = V6_ME) -> bytes:
    wanted = ipaddress.IPv6Address(sought).packed
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + wanted[13:]
    option = b"" if source == "::" else b"\1\1" + mac_bytes(ME)
    body = struct.pack(">BBHI", 135, 0, 0, 0) + wanted + option
    to = "33:33:ff:" + wanted[13:].hex(":")
    return icmp6(to, ME, source, str(ipaddress.IPv6Address(group)), body)


def advertisement(sought: str, mac: str, flags: int, target: str, to: str) -> bytes:
    wanted = ipaddress.IPv6Address(sought).packed
    body = struct.pack(">BBHB3x", 136, 0, 0, flags) + wanted + b"\2\1" + mac_bytes(mac)
    return icmp6(to, mac, sought, target, body)


def question(sender: str, sought: str) -> bytes:
    return arp(1, BROADCAST, ME, (ME, sender), (NOBODY, sought))


def passes(bench: LoopBench, data: bytes) -> bool:
    """Whether a broadcast goes to all as it is."""
    bench.tap_send(data)
    return bench.receive(0) == (ring.FRAME, 1, data)


def test_arp_is_answered_from_the_directory(guarded: LoopBench) -> None:
    guarded.tap_send(question(IP_ME, IP_A))
    assert guarded.tap_receive() == arp(2, ME, A, (A, IP_A), (ME, IP_ME))
    assert guarded.peers[0].receive() is None


def test_a_probe_for_the_address_of_another_is_answered(guarded: LoopBench) -> None:
    guarded.tap_send(question("0.0.0.0", IP_A))
    assert guarded.tap_receive() == arp(2, ME, A, (A, IP_A), (ME, "0.0.0.0"))


def test_a_solicitation_is_answered_from_the_directory(guarded: LoopBench) -> None:
    guarded.tap_send(solicitation(V6_A))
    assert guarded.tap_receive() == advertisement(V6_A, A, 0x60, V6_ME, ME)
    assert guarded.peers[0].receive() is None


def test_who_has_no_address_yet_is_told_with_all_nodes(guarded: LoopBench) -> None:
    """Duplicate address detection, for the link-local address that follows from our MAC's neighbour."""
    guarded.tap_send(solicitation("fe80::ff:fe00:2", "::"))
    guarded.wait_for_drop("bad_address")  # it would claim that address for itself


@pytest.mark.parametrize(
    "data",
    [
        question(IP_ME, IP_ME),
        question("0.0.0.0", IP_ME),
        question(IP_ME, "10.0.0.77"),
        arp(2, BROADCAST, ME, (ME, IP_ME), (BROADCAST, IP_ME)),
        solicitation(V6_ME, "::"),
        solicitation("fd00::77"),
    ],
    ids=["announcement", "probe for its own", "unknown", "reply", "own solicitation", "unknown solicitation"],
)
def test_what_else_is_a_broadcast_goes_to_all(guarded: LoopBench, data: bytes) -> None:
    assert passes(guarded, data)


def test_nobody_answers_for_a_port_that_is_down(guarded: LoopBench) -> None:
    guarded.directory.put(2, directory.DOWN, A, 1, 1500, [IP_A, V6_A])
    assert passes(guarded, question(IP_ME, IP_A))
    assert passes(guarded, solicitation(V6_A))


def test_where_addresses_may_move_their_owner_is_asked_and_then_all(bench: LoopBench) -> None:
    first = arp(1, A, ME, (ME, IP_ME), (NOBODY, IP_A))
    bench.tap_send(question(IP_ME, IP_A))
    assert bench.receive(0) == (ring.FRAME, 1, first)
    assert passes(bench, question(IP_ME, IP_A)), "it did not answer, so another may have it now"
    bench.tap_send(question(IP_ME, IP_B))
    assert bench.receive(0)[2] == arp(1, B, ME, (ME, IP_ME), (NOBODY, IP_B)), "each is asked for itself"


def test_the_owner_is_asked_on_its_direct_link(bench: LoopBench) -> None:
    bench.direct(2)
    bench.tap_send(solicitation(V6_A))
    assert bench.receive(2)[2] == mac_bytes(A) + solicitation(V6_A)[6:]
    assert bench.peers[0].receive() is None


def test_a_probe_for_duplicates_is_for_all(bench: LoopBench) -> None:
    """The port that should have the address may have given it up to another."""
    assert passes(bench, question("0.0.0.0", IP_A))
    assert passes(bench, solicitation(V6_A, "::"))


def test_a_question_from_outside_reaches_its_port_alone() -> None:
    with UplinkBench({1: A, 2: B}) as bench:
        bench.addresses(1, IP_A)
        bench.addresses(2, IP_B)
        asked = arp(1, BROADCAST, OUTSIDE, (OUTSIDE, "10.0.0.9"), (NOBODY, IP_B))
        bench.inbound(asked)
        assert bench.receive(2)[2] == asked
        assert bench.peers[1].receive() is None
        bench.inbound(asked)
        assert bench.receive(1)[2] == bench.receive(2)[2] == asked, (
            "it did not answer, so another may have it now"
        )


def test_a_port_is_told_of_the_machine_that_asks_for_it() -> None:
    """Whose MAC may be another than it was."""
    with UplinkBench({1: A, 2: B}, shared=True) as bench:
        bench.addresses(1, IP_A)
        asked = arp(1, BROADCAST, NIC, (NIC, "10.0.0.100"), (NOBODY, IP_A))
        bench.tap_send(asked)
        assert bench.receive(1)[2] == mac_bytes(A) + asked[6:]
        assert bench.peers[2].receive() is None


def test_a_storm_is_bounded_by_its_sender() -> None:
    """Broadcasts of one sender beyond its share are dropped; those of others, and its other frames, go on."""
    with UplinkBench({port: f"02:00:00:00:00:{port:02x}" for port in range(1, 61)}) as bench:
        evil, friend, quiet = (bench.peers[port] for port in (1, 2, 3))
        storm, seen = frame(BROADCAST, bench.macs[1], b"storm"), 0

        def dropped() -> bool:
            nonlocal seen
            for _ in range(64):
                evil.send(storm)
            while quiet.receive():
                seen += 1
            return bool(bench.drops().get("storm"))

        wait_until(dropped, 30, "broadcasts are dropped")
        assert seen >= 50, "a storm is far more than what programs say to all"
        evil.send(frame(bench.macs[3], bench.macs[1], b"to one"))
        wait_until(
            lambda: (got := quiet.receive()) and got[2].endswith(b"to one"), 5, "its other frames go on"
        )
        friend.send(frame(BROADCAST, bench.macs[2], b"hello"))
        wait_until(
            lambda: (got := quiet.receive()) and got[2].endswith(b"hello"), 5, "others' broadcasts go on"
        )
