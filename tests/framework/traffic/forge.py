"""Frames made by hand: ARP, neighbour discovery and UDP in IPv4 and IPv6, true or false; and an ear for them."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import time

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import SO_RCVBUFFORCE
from tests.framework.traffic.frames import BROADCAST, ETH_P_ALL, Seen, Tap, frame, octets

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
REQUEST, REPLY = 1, 2
SOLICITATION, ADVERTISEMENT = 135, 136
ICMPV6, UDP, HOP_BY_HOP = 58, 17, 0
MARK_OPTION = 253
"""A type of option of neighbour discovery for experiments: receivers pass over it."""


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(operation: int, mac: str, address: str, target: str, mark: bytes, to: str = BROADCAST) -> bytes:
    """A whole frame from `mac`, which says that `address` is there; `mark` stands behind it, where padding would."""
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + octets(mac) + packed(address)
    return frame(to, mac, ARP, body + bytes(6) + packed(target) + mark)


def udp(source: str, target: str, mark: bytes) -> tuple[int, bytes]:
    """The EtherType and the packet."""
    segment = struct.pack("!HHHH", 9, 9, 8 + len(mark), 0) + mark
    if ":" in source:
        return IPV6, _ipv6(source, target, UDP, _with_checksum(source, target, UDP, segment, 6))
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, UDP, 0)
    head += packed(source) + packed(target)
    return IPV4, head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment


def neighbour(
    kind: int, source: str, target: str, about: str, mac: str, mark: bytes, hidden: bool = False
) -> tuple[int, bytes]:
    """The EtherType and the packet of a solicitation or advertisement of `about`.

    A `hidden` one stands behind a hop-by-hop header. `mark` has up to six bytes.
    """
    flags = 0x20000000 if kind == ADVERTISEMENT else 0  # override
    message = struct.pack("!BBHI", kind, 0, 0, flags) + packed(about)
    if source != "::":
        message += bytes([2 if kind == ADVERTISEMENT else 1, 1]) + octets(mac)
    message += bytes([MARK_OPTION, 1]) + mark.ljust(6, b"\0")
    message = _with_checksum(source, target, ICMPV6, message, 2)
    if hidden:
        return IPV6, _ipv6(source, target, HOP_BY_HOP, bytes([ICMPV6, 0, 1, 4, 0, 0, 0, 0]) + message)
    return IPV6, _ipv6(source, target, ICMPV6, message)


def _with_checksum(source: str, target: str, protocol: int, segment: bytes, place: int) -> bytes:
    pseudo = packed(source) + packed(target) + struct.pack("!II", len(segment), protocol)
    value = checksum(pseudo + segment) or 0xFFFF
    return segment[:place] + struct.pack("!H", value) + segment[place + 2 :]


def _ipv6(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    return (
        struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255) + packed(source) + packed(target) + payload
    )


def say(partition: Partition, *frames: bytes) -> None:
    """Sends whole frames by a partition's interface."""
    with partition.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((partition.ifname, 0))
        for raw in frames:
            sock.send(raw)


class Ear(Tap):
    """Hears all frames that arrive at an interface, also while nobody reads them; a context manager."""

    def __init__(self, partition: Partition, ethertype: int = ETH_P_ALL) -> None:
        super().__init__(partition, ethertype)
        self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def until(self, mark: bytes, timeout: float = 5) -> list[Seen]:
        """All up to and with the first that has `mark` somewhere in it."""
        seen: list[Seen] = []
        deadline = time.monotonic() + timeout
        while not (seen and mark in seen[-1].payload):
            left = deadline - time.monotonic()
            arrived = left > 0 and select.select([self._sock], [], [], left)[0]
            assert arrived, f"{mark!r} was not heard within {timeout:g} s, only {_brief(seen)}"
            if (one := self._next()) is not None:
                seen.append(one)
        return seen


def _brief(seen: list[Seen]) -> str:
    """The last of them, without most of what they carry."""
    shown = [f"{one.source} to {one.to} {one.ethertype:04x} {one.payload[:40].hex()}" for one in seen[-20:]]
    return f"{len(seen)} frames, at the end {shown}"


def is_unicast(seen: Seen) -> bool:
    return not int(seen.to[:2], 16) & 1
