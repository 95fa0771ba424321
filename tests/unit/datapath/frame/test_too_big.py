"""The sizes that a frame has on the wire, and the answers to packets that do not fit it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnicd.native.testing import packets

ROUTER = bytes.fromhex("020000000001")
WEB = bytes.fromhex("52540000abcd")
GROUP = bytes.fromhex("01005e000001")
TCPV4, UDP, TCPV6, UDP_L4, ECN = 1, 3, 4, 5, 0x80


def ipv4(
    protocol: int = 17,
    rest: bytes = bytes(1480),
    source: str = "10.0.0.5",
    target: str = "192.0.2.1",
    offset: int = 0x4000,
    macs: bytes = ROUTER + WEB,
    options: bytes = b"",
) -> bytes:
    first = 0x45 + len(options) // 4
    head = struct.pack("!BBHHHBBH", first, 0, 20 + len(options) + len(rest), 7, offset, 64, protocol, 0)
    addresses = ip_address(source).packed + ip_address(target).packed
    return macs + b"\x08\0" + head + addresses + options + rest


def ipv6(
    header: int = 17,
    rest: bytes = bytes(1460),
    source: str = "2001:db8::5",
    target: str = "2001:db8:1::1",
    macs: bytes = ROUTER + WEB,
) -> bytes:
    head = struct.pack("!BxxxHBB", 0x60, len(rest), header, 64)
    return macs + b"\x86\xdd" + head + ip_address(source).packed + ip_address(target).packed + rest


def ramp(size: int) -> bytes:
    return bytes(i % 251 for i in range(size))


def checks(data: bytes) -> bool:
    """Whether data that includes its Internet checksum sums up to nothing."""
    total = sum(word for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)))
    return total > 0 and total % 0xFFFF == 0


def vnet(kind: int, gso_size: int, start: int) -> bytes:
    return struct.pack("=BBHHHH", 1, kind, 0, gso_size, start, 16)


@given(st.integers(8, 1480), st.sampled_from([b"", bytes(4), bytes(40)]), st.integers(0, 70000))
def test_the_answer_to_ipv4(size: int, options: bytes, mtu: int) -> None:
    frame = ipv4(rest=ramp(size), options=options)
    answer = packets.too_big(frame, mtu)
    assert answer[:10] == bytes(10)
    assert answer[10:24] == WEB + ROUTER + b"\x08\0"
    ip, icmp = answer[24:44], answer[44:]
    assert struct.unpack("!BBHHHBB", ip[:10]) == (0x45, 0, len(answer) - 24, 0, 0x4000, 64, 1)
    assert (ip[12:16], ip[16:20]) == (frame[30:34], frame[26:30])
    assert icmp[:2] == b"\3\4"
    assert struct.unpack("!HH", icmp[4:8]) == (0, min(mtu, 65535))
    assert icmp[8:] == frame[14:][: 576 - 28]
    assert checks(ip)
    assert checks(icmp)


@given(st.integers(8, 1460), st.integers(0, 2**32 - 1))
def test_the_answer_to_ipv6(size: int, mtu: int) -> None:
    frame = ipv6(rest=ramp(size))
    answer = packets.too_big(frame, mtu)
    assert answer[:10] == bytes(10)
    assert answer[10:24] == WEB + ROUTER + b"\x86\xdd"
    ip, icmp = answer[24:64], answer[64:]
    assert struct.unpack("!IHBB", ip[:8]) == (0x60000000, len(icmp), 58, 64)
    assert (ip[8:24], ip[24:40]) == (frame[38:54], frame[22:38])
    assert icmp[:2] == b"\2\0"
    assert struct.unpack("!I", icmp[4:8]) == (mtu,)
    assert icmp[8:] == frame[14:][: 1280 - 48]
    assert checks(ip[8:] + struct.pack("!II", len(icmp), 58) + icmp)


def test_only_what_was_looked_at_is_quoted() -> None:
    for frame in (ipv4(rest=ramp(1480)), ipv6(rest=ramp(1460))):
        answer = packets.too_big(frame[: packets.PEEK], 1400, len(frame))
        assert answer.endswith(frame[14 : packets.PEEK])
        assert checks(answer[44:]) or checks(
            answer[32:64] + struct.pack("!II", len(answer) - 64, 58) + answer[64:]
        )


def test_what_is_behind_the_frame_is_not_quoted() -> None:
    for frame in (ipv4(rest=ramp(1480)), ipv6(rest=ramp(1460))):
        assert packets.too_big(frame, 60, 100) == packets.too_big(frame[:100], 60)


def test_too_little_to_quote_is_not_answered() -> None:
    for frame, needed in (
        (ipv4(), 14 + 20 + 8),
        (ipv4(options=bytes(40)), 14 + 60 + 8),
        (ipv4(1, b"\x08" + bytes(1479)), 14 + 20 + 8),
        (ipv6(), 14 + 40 + 8),
    ):
        assert packets.too_big(frame[:needed], 1400, len(frame))
        for short in (needed - 1, needed - 8):
            assert not packets.too_big(frame[:short], 1400, len(frame))


FOUR = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]
SIX = ["::", "::1", "ff02::1", "ff00::"]


@pytest.mark.parametrize("address", FOUR)
def test_ipv4_addresses_that_are_no_single_host_are_not_answered(address: str) -> None:
    assert not packets.too_big(ipv4(source=address), 1400)
    assert not packets.too_big(ipv4(target=address), 1400)
    assert packets.too_big(ipv4(source="223.255.255.254", target="1.0.0.1"), 1400)


@pytest.mark.parametrize("address", SIX)
def test_ipv6_addresses_that_are_no_single_host_are_not_answered(address: str) -> None:
    assert not packets.too_big(ipv6(source=address), 1400)
    assert not packets.too_big(ipv6(target=address), 1400)
    assert packets.too_big(ipv6(source="::2", target="fe80::"), 1400)


@pytest.mark.parametrize("make", [ipv4, ipv6])
@pytest.mark.parametrize("macs", [GROUP + WEB, b"\xff" * 6 + WEB, ROUTER + GROUP])
def test_group_macs_are_not_answered(make: Callable[..., bytes], macs: bytes) -> None:
    assert not packets.too_big(make(macs=macs), 1400)


def test_fragments_other_than_the_first_are_not_answered() -> None:
    assert packets.too_big(ipv4(offset=0x2000), 1400)
    assert packets.too_big(ipv4(offset=0), 1400), "a switch can't fragment what may be"
    assert not packets.too_big(ipv4(offset=0x2001), 1400)
    assert not packets.too_big(ipv4(offset=0x00B9), 1400)
    assert packets.too_big(ipv6(44, b"\x11\0\0\1" + bytes(1400)), 1300)
    assert not packets.too_big(ipv6(44, b"\x11\0\0\x09" + bytes(1400)), 1300)


def test_errors_are_not_answered() -> None:
    for kind in range(256):
        echo_or_query = kind in {0, 8, 13, 14, 15, 16, 17, 18}
        message = bytes([kind]) + bytes(1400)
        assert bool(packets.too_big(ipv4(1, message), 1300)) == echo_or_query, kind
        assert bool(packets.too_big(ipv4(1, message, options=bytes(8)), 1300)) == echo_or_query, kind
        if not packets.ND_RS <= kind <= packets.ND_REDIRECT:  # those can't be as long as this
            assert bool(packets.too_big(ipv6(58, message), 1300)) == (kind >= 128), kind
            behind = ipv6(60, b"\x3a\0\1\4\0\0\0\0" + message)
            assert bool(packets.too_big(behind, 1300)) == (kind >= 128), kind


def test_other_frames_are_not_answered() -> None:
    for ethertype in (b"\x88\xb5", b"\x08\x06", b"\x81\x00"):
        assert not packets.too_big(ROUTER + WEB + ethertype + bytes(1480), 1400)
    assert not packets.too_big(b"", 1400)
    assert not packets.too_big(ipv4()[:20], 1400)


@pytest.mark.parametrize(
    ("kind", "start", "transport"),
    [
        (TCPV4, 34, 20),
        (TCPV4, 34, 32),
        (TCPV4 | ECN, 34, 60),
        (TCPV4, 46, 20),
        (TCPV6, 54, 32),
        (TCPV6 | ECN, 54, 20),
        (UDP_L4, 34, 8),
        (UDP_L4, 54, 8),
    ],
)
def test_what_a_super_frame_becomes(kind: int, start: int, transport: int) -> None:
    frame = bytearray(packets.PEEK)
    frame[start + 12] = 0xF if kind == UDP_L4 else transport << 2 | 0xF
    headers = start + transport
    for count, rest in ((44, 0), (44, 1), (0, 7), (1, 0), (0, 0)):
        length = headers + 1448 * count + rest
        largest = min(length, headers + 1448)
        frames = max(1, count + bool(rest))
        header = vnet(kind, 1448, start)
        assert packets.segment_size(header, frame, length) == largest - 14
        assert packets.wire_bytes(header, frame, length) == length + headers * (frames - 1)


def test_a_tcp_header_out_of_sight_has_20_bytes() -> None:
    header = vnet(TCPV6, 1000, packets.PEEK - 12)
    headers = packets.PEEK - 12 + 20
    assert packets.segment_size(header, b"\xff" * packets.PEEK, 9000) == headers - 14 + 1000
    assert packets.wire_bytes(header, b"\xff" * packets.PEEK, headers + 2000) == 2 * headers + 2000


@pytest.mark.parametrize(
    "header",
    [
        bytes(10),
        vnet(0, 1448, 34),
        vnet(UDP, 1448, 34),
        vnet(2, 1448, 34),
        vnet(TCPV4, 0, 34),
        vnet(TCPV4, 1448, 33),
        vnet(TCPV4, 1448, 0),
        vnet(TCPV4, 1448, 9000),
        vnet(UDP_L4, 1448, 8993),
        vnet(TCPV4, 1448, 35),
    ],
)
def test_a_frame_without_segments_or_with_nonsense_counts_as_it_is(header: bytes) -> None:
    frame = b"\x50" * 47 + b"\x40" + b"\x50" * 144  # a TCP header at 35 would have 16 bytes
    assert packets.segment_size(header, frame, 9000) == 8986
    assert packets.wire_bytes(header, frame, 9000) == 9000


def test_many_small_segments_do_not_overflow() -> None:
    header = vnet(UDP_L4, 1, 32000)
    assert packets.wire_bytes(header, bytes(192), 65535) == 65535 + 32008 * (65535 - 32008 - 1)
    assert packets.wire_bytes(header, bytes(192), 2**32 - 1) > 2**32
    assert packets.segment_size(bytes(10), b"", 3) == 0
