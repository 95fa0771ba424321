"""What a frame is told to be, what it claims, and how its link addresses are rewritten, rule by rule."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vnicd.native.testing import packets

NIC = bytes.fromhex("020000000001")
WEB = bytes.fromhex("52540000abcd")
OTHER, ARP, BAD = packets.FRAME_OTHER, packets.FRAME_ARP, packets.FRAME_BAD
IPV4, IPV6 = packets.FRAME_IPV4, packets.FRAME_IPV6
HOP, TCP, ROUTING, FRAGMENT, AH, ICMPV6, NONE, OPTIONS = 0, 6, 43, 44, 51, 58, 59, 60
ND = {packets.ND_RS: 8, packets.ND_RA: 16, packets.ND_NS: 24, packets.ND_NA: 24, packets.ND_REDIRECT: 40}
"""The fixed part's length of each neighbour discovery message."""

OWN6, PEER6 = "fe80::5054:ff:fe00:abcd", "fe80::1"
ICMP6_AT = 14 + 40
LINK_OPTION = b"\1\1" + WEB


def ethernet(ethertype: int, payload: bytes, to: bytes = NIC) -> bytes:
    return to + WEB + struct.pack("!H", ethertype) + payload


def arp(
    op: int = 1, sha: bytes = WEB, spa: str = "10.0.0.5", head: tuple[int, ...] = (1, 0x800, 6, 4)
) -> bytes:
    addresses = sha + ip_address(spa).packed + bytes(6) + ip_address("10.0.0.1").packed
    return ethernet(0x806, struct.pack("!HHBBH", *head, op) + addresses)


def ipv4(source: str = "10.0.0.5", first: int = 0x45, offset: int = 0, rest: bytes = bytes(40)) -> bytes:
    head = struct.pack("!BBHHHBBH", first, 0, 20 + len(rest), 7, offset, 64, 17, 0)
    return ethernet(0x800, head + ip_address(source).packed + ip_address("10.0.0.1").packed + rest)


def ipv6(header: int, rest: bytes, source: str = OWN6, first: int = 0x60, says: int | None = None) -> bytes:
    head = struct.pack("!BxxxHBB", first, len(rest) if says is None else says, header, 255)
    return ethernet(0x86DD, head + ip_address(source).packed + ip_address(PEER6).packed + rest)


def summed(data: bytes) -> int:
    """One's complement sum, from its definition: modulo 0xffff."""
    return int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF


def pseudo6(message: bytes, source: str = OWN6) -> bytes:
    return ip_address(source).packed + ip_address(PEER6).packed + struct.pack("!IxxxB", len(message), ICMPV6)


def nd(kind: int, options: bytes = b"", source: str = OWN6) -> bytes:
    """A neighbour discovery message with its checksum."""
    body = bytes([kind, 0, 0, 0]) + bytes(range(1, ND[kind] - 3)) + options
    checksum = 0xFFFF - summed(pseudo6(body, source) + body)
    return body[:2] + checksum.to_bytes(2, "big") + body[4:]


def extension(header: int, units: int = 0) -> bytes:
    """A hop-by-hop, routing or destination options header, padded to 8 + 8 * units bytes."""
    return bytes([header, units, 1, 4 + 8 * units]) + bytes(4 + 8 * units)


def fragment(header: int, offset: int = 0, more: bool = True) -> bytes:
    return struct.pack("!BxHI", header, offset << 3 | more, 99)


def kind(frame: bytes, length: int | None = None) -> int:
    return packets.inspect(frame, length)["kind"]


def test_arp_and_its_addresses() -> None:
    for op in (1, 2):
        found = packets.inspect(arp(op))
        assert (found["kind"], found["source"], found["target"], found["icmp6"]) == (ARP, 28, 38, 0)
    assert kind(arp() + bytes(18)) == ARP


@pytest.mark.parametrize(
    "frame",
    [
        arp(op=0),
        arp(op=3),
        arp(op=0x101),
        arp(head=(6, 0x800, 6, 4)),
        arp(head=(1, 0x86DD, 6, 4)),
        arp(head=(1, 0x800, 8, 4)),
        arp(head=(1, 0x800, 6, 16)),
        arp()[:41],
        ethernet(0x8035, arp()[14:]),
        b"",
        arp()[:13],
    ],
)
def test_other_kinds_of_arp_and_stumps_are_bad(frame: bytes) -> None:
    assert packets.inspect(frame) == dict.fromkeys(packets.inspect(frame), 0) | {"kind": BAD}


@pytest.mark.parametrize("ethertype", [0x8100, 0x88A8, 0x9100])
def test_vlan_tags_are_bad(ethertype: int) -> None:
    assert kind(ethernet(ethertype, b"\0\1\x08\0" + ipv4()[14:])) == BAD


@pytest.mark.parametrize("ethertype", [0, 46, 0x5FF, 0x600, 0x88B5, 0x0801])
def test_what_is_neither_ip_nor_arp_is_other(ethertype: int) -> None:
    found = packets.inspect(ethernet(ethertype, ipv4()[14:]))
    assert found == dict.fromkeys(found, 0) | {"kind": OTHER}
    assert kind(ethernet(ethertype, b"")) == OTHER


def test_ipv4_and_its_addresses() -> None:
    found = packets.inspect(ipv4())
    assert (found["kind"], found["source"], found["target"]) == (IPV4, 26, 30)
    assert (found["protocol"], found["later"]) == (17, 0)
    assert not packets.inspect(ipv4(offset=0x4000))["later"]
    assert not packets.inspect(ipv4(offset=0x2000))["later"]
    assert packets.inspect(ipv4(offset=1))["later"]
    assert packets.inspect(ipv4(offset=0x1000))["later"]
    assert kind(ipv4(rest=b"")) == IPV4
    assert kind(ipv4(first=0x4F)) == IPV4
    assert kind(ipv4()[:60], 65535) == IPV4, "the total length is not judged"


@pytest.mark.parametrize(
    "frame",
    [
        ipv4(first=0x65),
        ipv4(first=0x44),
        ipv4(first=0x40),
        ipv4(rest=b"")[:33],
        ipv4(first=0x4F, rest=bytes(39)),
    ],
)
def test_an_impossible_ipv4_header_is_bad(frame: bytes) -> None:
    assert kind(frame) == BAD


def test_ipv6_and_its_addresses() -> None:
    found = packets.inspect(ipv6(TCP, bytes(20)))
    assert (found["kind"], found["source"], found["target"]) == (IPV6, 22, 38)
    assert (found["protocol"], found["icmp6"], found["icmp6_at"]) == (TCP, 0, 0)
    assert kind(ipv6(NONE, b"")) == IPV6
    assert kind(ipv6(TCP, bytes(20), first=0x45)) == BAD
    assert kind(ipv6(NONE, b"")[:53]) == BAD
    assert packets.inspect(ipv6(ICMPV6, b"\x80" + bytes(7)))["icmp6"] == 128


CHAINS = {
    "none": (ICMPV6, b""),
    "hop-by-hop": (HOP, extension(ICMPV6)),
    "routing": (ROUTING, extension(ICMPV6, 2)),
    "options twice": (OPTIONS, extension(OPTIONS, 1) + extension(ICMPV6)),
    "all": (HOP, extension(ROUTING) + extension(OPTIONS) + extension(ICMPV6)),
    "authentication": (AH, bytes([ICMPV6, 4]) + bytes(22)),
}


@pytest.mark.parametrize("message", ND)
@pytest.mark.parametrize("chain", CHAINS)
def test_neighbour_discovery_is_found_behind_extension_headers(chain: str, message: int) -> None:
    header, between = CHAINS[chain]
    frame = ipv6(header, between + nd(message, LINK_OPTION))
    found = packets.inspect(frame)
    assert (found["kind"], found["icmp6"], found["icmp6_at"]) == (IPV6, message, ICMP6_AT + len(between))
    for end in range(14, len(frame)):
        assert kind(frame[:end]) == BAD, "cut off"
        assert kind(frame[:end], len(frame)) == BAD, "not looked at as far as that"


def test_a_chain_that_runs_out_is_bad() -> None:
    assert kind(ipv6(OPTIONS, extension(TCP))) == IPV6
    assert kind(ipv6(OPTIONS, extension(TCP)[:7])) == BAD
    assert kind(ipv6(OPTIONS, extension(TCP, 9)[:-1])) == BAD
    assert kind(ipv6(OPTIONS, extension(TCP, 20))[: packets.PEEK], 222) == BAD
    assert kind(ipv6(HOP, extension(HOP) * 30)) == BAD
    assert kind(ipv6(ICMPV6, b"")) == BAD
    assert kind(ipv6(OPTIONS, extension(ICMPV6))) == BAD


def test_a_chain_longer_than_offsets_can_tell_is_bad() -> None:
    chain = (bytes([OPTIONS, 255]) + bytes(2046)) * 31
    for units, expected in ((220, IPV6), (250, BAD)):
        last = bytes([ICMPV6, units]) + bytes(6 + 8 * units)
        found = packets.inspect(ipv6(OPTIONS, chain + last + b"\x80" + bytes(7)))
        assert found["kind"] == expected
        assert found["icmp6_at"] == (ICMP6_AT + len(chain + last) if expected == IPV6 else 0)


def test_what_lies_behind_the_payload_is_not_taken_for_the_message() -> None:
    harmless = b"\x80" + bytes(7)
    assert kind(ipv6(OPTIONS, extension(ICMPV6) + harmless, says=8)) == BAD
    assert kind(ipv6(OPTIONS, extension(ICMPV6) + harmless, says=16)) == IPV6
    assert kind(ipv6(ICMPV6, nd(packets.ND_NS), says=0)) == BAD
    assert kind(ipv6(ICMPV6, nd(packets.ND_NS) + bytes(9), says=24)) == IPV6, "padding of the frame"


def test_neighbour_discovery_in_fragments_is_bad() -> None:
    for message in ND:
        assert kind(ipv6(FRAGMENT, fragment(ICMPV6) + nd(message))) == BAD
        assert kind(ipv6(FRAGMENT, fragment(ICMPV6, more=False) + nd(message))) == BAD, "an atomic one"
        assert kind(ipv6(FRAGMENT, fragment(OPTIONS) + extension(ICMPV6) + nd(message))) == BAD
        assert kind(ipv6(OPTIONS, extension(FRAGMENT) + fragment(ICMPV6) + nd(message))) == BAD
    assert kind(ipv6(FRAGMENT, fragment(ICMPV6))) == BAD, "the type is not there"
    assert kind(ipv6(FRAGMENT, fragment(OPTIONS) + extension(ICMPV6))) == BAD


def test_other_fragments_pass() -> None:
    assert kind(ipv6(FRAGMENT, fragment(TCP) + bytes(20))) == IPV6
    assert kind(ipv6(FRAGMENT, fragment(ICMPV6) + b"\x80" + bytes(7))) == IPV6
    found = packets.inspect(ipv6(FRAGMENT, fragment(ICMPV6, offset=1) + nd(packets.ND_NA)))
    assert (found["kind"], found["later"], found["icmp6"]) == (IPV6, 1, 0)
    assert packets.inspect(ipv6(FRAGMENT, fragment(OPTIONS, offset=1)))["later"]
    assert kind(ipv6(FRAGMENT, fragment(OPTIONS, offset=1)[:7])) == BAD
    assert not packets.inspect(ipv6(FRAGMENT, fragment(TCP) + bytes(20)))["later"]


@pytest.mark.parametrize(
    "options", [b"\1\0" + WEB, b"\1\2" + WEB, b"\1", LINK_OPTION + b"\5", b"\x0e\xff" + WEB]
)
def test_options_that_are_not_as_long_as_they_say_are_bad(options: bytes) -> None:
    for message in ND:
        assert kind(ipv6(ICMPV6, nd(message, options))) == BAD
        assert kind(ipv6(ICMPV6, nd(message, LINK_OPTION * 2))) == IPV6


def test_a_message_shorter_than_its_fixed_part_is_bad() -> None:
    for message, size in ND.items():
        assert kind(ipv6(ICMPV6, nd(message)[: size - 1])) == BAD
        assert kind(ipv6(ICMPV6, nd(message))) == IPV6


def test_a_message_that_is_longer_than_what_is_looked_at_is_bad() -> None:
    frame = ipv6(ICMPV6, nd(packets.ND_RA, b"\x03\x04" + bytes(30) + LINK_OPTION * 12))
    assert len(frame) > packets.PEEK
    assert kind(frame) == IPV6
    assert kind(frame[: packets.PEEK], len(frame)) == BAD


def test_an_unspecified_source() -> None:
    assert packets.claims_unspecified(arp(spa="0.0.0.0"))
    assert packets.claims_unspecified(ipv4("0.0.0.0"))
    assert packets.claims_unspecified(ipv6(TCP, bytes(20), source="::"))
    assert not packets.claims_unspecified(arp(spa="0.0.0.1"))
    assert not packets.claims_unspecified(ipv4("1.0.0.0"))
    assert not packets.claims_unspecified(ipv6(TCP, bytes(20), source="::1"))
    assert not packets.claims_unspecified(ethernet(0x88B5, bytes(40), to=bytes(6)))


def test_claimed_targets() -> None:
    at = ICMP6_AT + 8
    for message in ND:
        frame, nameless = ipv6(ICMPV6, nd(message)), ipv6(ICMPV6, nd(message, source="::"), source="::")
        advertised, looked_for = message == packets.ND_NA, message == packets.ND_NS
        assert packets.claimed_target(frame) == (at if advertised else 0)
        assert packets.claimed_target(nameless) == (at if advertised or looked_for else 0)
        assert packets.nd_target(frame) == (at if advertised or looked_for else 0)
    for other in (
        arp(spa="0.0.0.0"),
        arp(op=2),
        ipv4("0.0.0.0"),
        ipv6(ICMPV6, b"\x80" + bytes(30), source="::"),
    ):
        assert packets.claimed_target(other) == packets.nd_target(other) == 0


def test_the_sender_of_arp() -> None:
    assert packets.arp_sender_is(arp(), WEB)
    assert not packets.arp_sender_is(arp(sha=NIC), WEB)
    assert not packets.arp_sender_is(ethernet(0x88B5, arp()[14:]), WEB)


def test_the_link_addresses_of_arp() -> None:
    for op in (1, 2):
        assert packets.set_link_address(arp(op), NIC) == arp(op, sha=NIC)
    reply = arp(2)
    assert packets.set_target_link_address(reply, NIC) == reply[:32] + NIC + reply[38:]
    for other in (arp(1), ipv4(), ipv6(ICMPV6, nd(packets.ND_NA)), b""):
        assert packets.set_target_link_address(other, NIC) == other


@given(
    st.sampled_from(sorted(ND)),
    st.lists(st.sampled_from([b"\1\1", b"\2\1", b"\5\1"]), max_size=4),
    st.binary(min_size=6, max_size=6),
    st.binary(min_size=6, max_size=6),
    st.sampled_from(sorted(CHAINS)),
)
@example(packets.ND_NA, [b"\2\1"], bytes(6), b"\xff" * 6, "none")
@example(packets.ND_NA, [b"\2\1"], b"\xff" * 6, bytes(6), "none")
@example(
    packets.ND_NA, [b"\2\1"], b"\xff\xff\xff\xff\xc7\x31", b"\xff\xff\xff\xff\x19\x12", "none"
)  # carries twice
def test_the_link_addresses_of_neighbour_discovery(
    message: int, options: list[bytes], old: bytes, new: bytes, chain: str
) -> None:
    header, between = CHAINS[chain]
    before = ipv6(header, between + nd(message, b"".join(option + old for option in options)))
    told = b"".join(option + (old if option == b"\5\1" else new) for option in options)
    wanted = before[: len(before) - len(told)] + told
    at = ICMP6_AT + len(between)
    after = packets.set_link_address(before, new)
    assert summed(pseudo6(after[at:]) + after[at:]) == 0
    assert after[: at + 2] + after[at + 4 :] == wanted[: at + 2] + wanted[at + 4 :]
    assert packets.set_link_address(before, new, partial=True) == wanted


def test_only_options_of_a_macs_length_are_rewritten() -> None:
    long = b"\1\2" + WEB + bytes(8)
    frame = ipv6(ICMPV6, nd(packets.ND_NS, long))
    assert packets.set_link_address(frame, NIC) == frame
    for other in (ipv4(), ipv6(ICMPV6, b"\x80" + bytes(23) + LINK_OPTION), ipv6(TCP, LINK_OPTION * 3)):
        assert packets.set_link_address(other, NIC) == other


STARTS = {IPV4: ipv4(rest=b""), IPV6: ipv6(HOP, b"", says=80), ARP: arp()}


@given(st.sampled_from([b"", *STARTS.values(), STARTS[IPV6] + b"\x3a\0" + bytes(6)]), st.data())
def test_no_bytes_lead_beyond_what_is_looked_at(start: bytes, data: st.DataObject) -> None:
    """Under the sanitizers a look beyond the bytes given would end the test run."""
    raw = bytearray(start + data.draw(st.binary(max_size=200)))
    for place in data.draw(st.lists(st.integers(14, 70), max_size=3)):
        if place < len(raw):
            raw[place] = data.draw(st.sampled_from([0, 1, 4, *range(43, 61), *ND, 255]))
    frame, vnet = bytes(raw), data.draw(st.binary(min_size=10, max_size=10))
    length = data.draw(st.sampled_from([len(frame), len(frame) + 1, 1514, 65549]))
    found = packets.inspect(frame, length)
    size = 16 if found["kind"] == IPV6 else 4
    if found["kind"] in STARTS:
        assert 14 <= found["source"] < found["target"] <= len(frame) - size
    else:
        assert not any(value for name, value in found.items() if name != "kind")
    assert found["icmp6_at"] + ND.get(found["icmp6"], 0) <= len(frame)
    assert packets.claimed_target(frame, length) + 16 <= max(len(frame), 16)
    assert packets.nd_target(frame, length) + 16 <= max(len(frame), 16)
    packets.claims_unspecified(frame, length)
    packets.arp_sender_is(frame, WEB)
    assert len(packets.set_link_address(frame, NIC, length=length)) == len(frame)
    assert len(packets.set_target_link_address(frame, NIC)) == len(frame)
    assert packets.segment_size(vnet, frame, length) <= length
    assert packets.wire_bytes(vnet, frame, length) >= length
    assert len(packets.too_big(frame, 1400, length)) <= 10 + 14 + 1280
