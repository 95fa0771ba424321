"""Announcements as the loop's own inspection reads them, and their checksums."""

from __future__ import annotations

import ipaddress
import struct

from vnicd.native.testing import packets
from vnicd.packet import announcement

MAC = "02:00:00:00:00:07"


def test_an_ipv4_address_is_announced_by_arp() -> None:
    data = announcement.frame(MAC, "10.0.0.5")
    found = packets.inspect(data)
    assert found["kind"] == packets.FRAME_ARP and len(data) == 42
    assert data[:6] == b"\xff" * 6 and packets.arp_sender_is(data, bytes.fromhex("020000000007"))
    own = ipaddress.ip_address("10.0.0.5").packed
    assert data[found["source"] :][:4] == data[found["target"] :][:4] == own


def test_an_ipv6_address_is_announced_by_an_advertisement() -> None:
    data = announcement.frame(MAC, "2001:db8::5")
    found = packets.inspect(data)
    assert (found["kind"], found["icmp6"]) == (packets.FRAME_IPV6, packets.ND_NA)
    own = ipaddress.ip_address("2001:db8::5").packed
    claimed = packets.claimed_target(data)
    assert data[claimed : claimed + 16] == own == data[22:38]
    assert data.endswith(b"\x02\x01" + bytes.fromhex("020000000007"))
    pseudo = data[22:54] + struct.pack(">II", len(data) - 54, 58)
    assert announcement.checksum(pseudo + data[54:]) == 0, "a checksum over all with its checksum is zero"
