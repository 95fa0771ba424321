"""The program that spreads inbound frames over rx queues, run by the kernel on datagrams that hold frames."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vnicd.packet.fanout_filter import GROUP, MAX_INSTRUCTIONS, TAKE_NOTHING, WASTE, assign, program

SO_ATTACH_FILTER = 26

NIC = "02:aa:00:00:00:01"
BLUE, GREEN, STRANGER = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:99"
BROADCAST, ALL_NODES = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
MACS = {BLUE: 2, GREEN: 3}
ADDRESSES = {"10.0.0.5": 2, "10.0.0.6": 3, "fd00::5": 2, "fd00::6": 3, "fd01::5": 4}

LaneOf = Callable[[bytes], int]


def attach(sock: socket.socket, code: bytes) -> None:
    buffer = ctypes.create_string_buffer(code)
    filter_ = struct.pack("HL", len(code) // 8, ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
    except OSError as error:
        if error.errno == errno.ENOMEM:  # the limit is for filters of sockets, not for programs of groups
            pytest.skip("net.core.optmem_max is too small for a program of this size")
        raise


class Kernel:
    """Runs a program as a socket's filter: what it returns is how many bytes of the datagram are left."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.code = b""

    def queue_of(self, code: bytes, frame: bytes) -> int:
        if code != self.code:
            attach(self.far, TAKE_NOTHING)  # two large ones at once are more than a socket may have
            attach(self.far, code)
            self.code = code
        self.near.send(frame.ljust(512, b"\0"))
        try:
            return len(self.far.recv(1024))
        except BlockingIOError:
            return WASTE


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.near.close()
    kernel.far.close()


@pytest.fixture
def bridge(kernel: Kernel) -> LaneOf:
    code = make(False)
    return lambda frame: kernel.queue_of(code, frame)


@pytest.fixture
def shared(kernel: Kernel) -> LaneOf:
    code = make(True)
    return lambda frame: kernel.queue_of(code, frame)


def make(
    mode_shared: bool, macs: Mapping[str, int] = MACS, addresses: Mapping[str, int] = ADDRESSES
) -> bytes:
    """The program for frames that are whole datagrams."""
    return program(mode_shared, NIC, macs, addresses, link=0, network=14)


def ethernet(to: str, source: str, kind: int = 0x88B5, payload: bytes = b"") -> bytes:
    return bytes.fromhex((to + source).replace(":", "")) + struct.pack("!H", kind) + payload


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def ipv4(to: str, target: str, source: str = STRANGER) -> bytes:
    return ethernet(to, source, 0x0800, bytes(12) + ip("10.0.0.1") + ip(target))


def ipv6(to: str, target: str, source: str = STRANGER, header: int = 17, payload: bytes = b"") -> bytes:
    start = struct.pack("!IHBB", 6 << 28, len(payload), header, 64)
    return ethernet(to, source, 0x86DD, start + ip("fd00::1") + ip(target) + payload)


def arp(to: str, target: str, sender: str = "10.0.0.1", source: str = STRANGER) -> bytes:
    start = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return ethernet(to, source, 0x0806, start + bytes(6) + ip(sender) + bytes(6) + ip(target))


def solicitation(to: str, target: str, type_: int = 135) -> bytes:
    return ipv6(to, "ff02::1:ff00:5", header=58, payload=bytes([type_]) + bytes(7) + ip(target))


def test_bridge_unicast(bridge: LaneOf) -> None:
    assert bridge(ethernet(BLUE, STRANGER)) == 2
    assert bridge(ethernet(GREEN, STRANGER)) == 3
    assert bridge(ethernet(STRANGER, NIC)) == WASTE
    assert bridge(ethernet(NIC, STRANGER)) == WASTE
    assert bridge(ethernet("06:00:00:00:00:01", STRANGER)) == WASTE, "the first bytes count as well"


def test_bridge_group(bridge: LaneOf) -> None:
    assert bridge(ethernet(BROADCAST, STRANGER)) == GROUP
    assert bridge(ethernet(ALL_NODES, NIC)) == GROUP


@pytest.mark.parametrize("to", [BROADCAST, GREEN, STRANGER])
def test_bridge_wastes_what_claims_to_come_from_a_partition(bridge: LaneOf, to: str) -> None:
    assert bridge(ethernet(to, BLUE)) == WASTE


def test_bridge_source_is_compared_whole(bridge: LaneOf) -> None:
    assert bridge(ethernet(GREEN, "06:00:00:00:00:01")) == 3


def test_macs_that_differ_in_their_first_bytes_only(kernel: Kernel) -> None:
    code = make(False, {"02:00:00:00:00:07": 2, "02:01:00:00:00:07": 3, "06:00:00:00:00:07": 4})
    for to, queue in (("02:00", 2), ("02:01", 3), ("06:00", 4), ("0a:00", WASTE)):
        assert kernel.queue_of(code, ethernet(f"{to}:00:00:00:07", STRANGER)) == queue


@pytest.mark.parametrize("mode_shared", [False, True])
def test_nobody_is_there(kernel: Kernel, mode_shared: bool) -> None:
    code = make(mode_shared, {}, {})
    assert kernel.queue_of(code, ipv4(NIC, "10.0.0.5")) == WASTE
    assert kernel.queue_of(code, ipv6(NIC, "fd00::5")) == WASTE
    assert kernel.queue_of(code, ethernet(BROADCAST, STRANGER)) == GROUP


def test_shared_unicast(shared: LaneOf) -> None:
    assert shared(ipv4(NIC, "10.0.0.5")) == 2
    assert shared(ipv4(NIC, "10.0.0.6")) == 3
    assert shared(ipv4(NIC, "10.0.0.2")) == WASTE
    assert shared(ipv6(NIC, "fd00::5")) == 2
    assert shared(ipv6(NIC, "fd01::5")) == 4, "the last bytes are those of fd00::5"
    assert shared(ipv6(NIC, "fd02::5")) == WASTE
    assert shared(arp(NIC, "10.0.0.6")) == 3
    assert shared(arp(NIC, "10.0.0.2")) == WASTE


def test_shared_other_protocols_and_stations(shared: LaneOf) -> None:
    assert shared(ethernet(NIC, STRANGER, 0x88B5, ipv4(NIC, "10.0.0.5")[14:])) == WASTE
    assert shared(ipv4(STRANGER, "10.0.0.5")) == WASTE
    assert shared(ipv6("06:aa:00:00:00:01", "fd00::5")) == WASTE


@pytest.mark.parametrize("to", [NIC, BROADCAST])
def test_shared_wastes_what_claims_to_come_from_here(shared: LaneOf, to: str) -> None:
    assert shared(ipv4(to, "10.0.0.5", source=NIC)) == WASTE
    assert shared(ipv4(to, "10.0.0.5", source="06:aa:00:00:00:01")) != WASTE


def test_shared_group(shared: LaneOf) -> None:
    assert shared(ipv4(BROADCAST, "10.0.0.255")) == GROUP
    assert shared(ipv6(ALL_NODES, "ff02::1")) == GROUP
    assert shared(ethernet(BROADCAST, STRANGER)) == GROUP


def test_shared_questions(shared: LaneOf) -> None:
    assert shared(arp(BROADCAST, "10.0.0.6")) == 3
    assert shared(arp(BROADCAST, "10.0.0.2")) == WASTE
    assert shared(solicitation("33:33:ff:00:00:05", "fd01::5")) == 4
    assert shared(solicitation("33:33:ff:00:00:05", "fd02::5")) == WASTE
    assert shared(solicitation(NIC, "fd01::5")) == WASTE, "a unicast one is for its IP destination"


def test_shared_announcements_are_for_all(shared: LaneOf) -> None:
    assert shared(arp(BROADCAST, "10.0.0.9", sender="10.0.0.9")) == GROUP
    assert shared(solicitation(ALL_NODES, "fd02::5", type_=136)) == GROUP


def test_a_frame_that_ends_too_early_is_wasted(kernel: Kernel) -> None:
    """Here every read is in the missing part, as there is no network header at 500."""
    code = program(True, NIC, {}, ADDRESSES, link=0, network=500)
    assert kernel.queue_of(code, ipv4(NIC, "10.0.0.5")) == WASTE


def test_take_nothing(kernel: Kernel) -> None:
    assert kernel.queue_of(TAKE_NOTHING, ethernet(BLUE, STRANGER)) == WASTE


octet = st.integers(0, 255)
# Few values, so that addresses share parts of each other.
some_macs = st.lists(st.sampled_from([0, 1, 7, 255]), min_size=5, max_size=5).map(
    lambda rest: "02:" + ":".join(f"{octet:02x}" for octet in rest)
)
words = st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
some_ipv4 = (words | st.integers(0, 2**32 - 1)).map(lambda number: str(ipaddress.IPv4Address(number)))
some_ipv6 = st.lists(words | st.integers(0, 2**32 - 1), min_size=4, max_size=4).map(
    lambda parts: str(ipaddress.IPv6Address(struct.pack("!4I", *parts)))
)
queues = st.integers(1, 60)


@settings(max_examples=150)
@given(st.dictionaries(some_macs, queues, max_size=60), st.lists(some_macs, max_size=10))
def test_any_macs(macs: dict[str, int], others: list[str]) -> None:
    kernel, code = Kernel(), make(False, macs)
    for mac in {*macs, *others}:
        assert kernel.queue_of(code, ethernet(mac, STRANGER)) == macs.get(mac, WASTE)
        assert kernel.queue_of(code, ethernet(BROADCAST, mac)) == (WASTE if mac in macs else GROUP)


@settings(max_examples=150)
@given(
    st.dictionaries(some_ipv4 | some_ipv6, queues, max_size=60), st.lists(some_ipv4 | some_ipv6, max_size=10)
)
def test_any_addresses(addresses: dict[str, int], others: list[str]) -> None:
    kernel, code = Kernel(), make(True, {}, addresses)
    for address in {*addresses, *others}:
        queue = addresses.get(address, WASTE)
        if ":" in address:
            assert kernel.queue_of(code, ipv6(NIC, address)) == queue
            assert kernel.queue_of(code, solicitation(ALL_NODES, address)) == queue
        else:
            assert kernel.queue_of(code, ipv4(NIC, address)) == queue
            assert kernel.queue_of(code, arp(BROADCAST, address, sender="1.2.3.4")) == queue


def test_all_ports_have_a_place_in_the_program(kernel: Kernel) -> None:
    """255 partitions, each with a MAC address and an address of each family."""
    macs = {f"02:{n * 37 % 251:02x}:{n:02x}:{n * 91 % 256:02x}:00:00": 2 + n % 62 for n in range(255)}
    code = make(False, macs)
    for mac, queue in macs.items():
        assert kernel.queue_of(code, ethernet(mac, STRANGER)) == queue
    addresses = {f"10.0.{n}.{n * 7 % 256}": 2 + n % 62 for n in range(255)}
    addresses |= {f"fd00::{n:x}": 2 + n % 62 for n in range(255)}
    code = make(True, {}, addresses)
    for address, queue in addresses.items():
        assert kernel.queue_of(code, ipv6(NIC, address) if ":" in address else ipv4(NIC, address)) == queue


def test_too_many_for_one_program(kernel: Kernel) -> None:
    """Then all that might be for a partition goes to one rx queue, and the rest is wasted still."""
    code = make(False, {f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}": 2 for n in range(800)})
    assert len(code) // 8 < MAX_INSTRUCTIONS
    assert kernel.queue_of(code, ethernet(BLUE, STRANGER)) == GROUP
    assert kernel.queue_of(code, ethernet(BROADCAST, STRANGER)) == GROUP
    assert kernel.queue_of(code, ethernet(NIC, STRANGER)) == WASTE
    code = make(True, {}, {str(ipaddress.IPv6Address((0xFD << 120) + n)): 2 for n in range(800)})
    assert kernel.queue_of(code, ipv6(NIC, "fd00::5")) == GROUP
    assert kernel.queue_of(code, arp(BROADCAST, "10.0.0.5")) == GROUP
    assert kernel.queue_of(code, ipv4(STRANGER, "10.0.0.5")) == WASTE
    assert kernel.queue_of(code, ipv4(NIC, "10.0.0.5", source=NIC)) == WASTE


def test_as_many_collisions_as_you_like(kernel: Kernel) -> None:
    """A leaf that is longer than a conditional jump reaches."""
    macs = {f"02:{n:02x}:00:00:00:07": 2 + n % 60 for n in range(200)}
    code = make(False, macs)
    for mac, queue in macs.items():
        assert kernel.queue_of(code, ethernet(mac, STRANGER)) == queue
    assert kernel.queue_of(code, ethernet("02:00:00:00:00:06", STRANGER)) == WASTE


def test_rx_queues_are_spread_evenly() -> None:
    queues = assign(range(1, 13), 8)
    assert sorted(queues.values()) == sorted(list(range(2, 8)) * 2)
    assert assign([5], 8) == {5: queues[5]}
    assert assign([1, 2], 2) == {1: GROUP, 2: GROUP}
