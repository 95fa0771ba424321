"""Frames that tell the network where an address is now: gratuitous ARP and unsolicited neighbour advertisements."""

from __future__ import annotations

import ipaddress
import struct

BROADCAST = b"\xff" * 6
ARP, IPV6 = 0x0806, 0x86DD
REQUEST = 1
ICMPV6, ADVERTISEMENT = 58, 136
OVERRIDE = 0x20000000
ALL_NODES = ipaddress.IPv6Address("ff02::1").packed


def frame(mac: str, address: str) -> bytes:
    """The Ethernet frame that says that `address` (without prefix length) is at `mac`."""
    own = bytes.fromhex(mac.replace(":", ""))
    ip = ipaddress.ip_address(address)
    return _arp(own, ip.packed) if ip.version == 4 else _advertisement(own, ip.packed)


def _arp(mac: bytes, ip: bytes) -> bytes:
    """A request for one's own address, which all that know it take as news (RFC 5227)."""
    header = BROADCAST + mac + struct.pack(">HHHBBH", ARP, 1, 0x0800, 6, 4, REQUEST)
    return header + mac + ip + bytes(6) + ip


def _advertisement(mac: bytes, ip: bytes) -> bytes:
    """To all nodes, with the flag that overrides what they believe (RFC 4861, 4.4)."""
    body = struct.pack(">BBHI", ADVERTISEMENT, 0, 0, OVERRIDE) + ip + b"\x02\x01" + mac
    pseudo = ip + ALL_NODES + struct.pack(">II", len(body), ICMPV6)
    body = body[:2] + struct.pack(">H", checksum(pseudo + body)) + body[4:]
    header = struct.pack(">IHBB", 6 << 28, len(body), ICMPV6, 255) + ip + ALL_NODES
    return b"\x33\x33\x00\x00\x00\x01" + mac + struct.pack(">H", IPV6) + header + body


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes."""
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
