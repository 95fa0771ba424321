"""Probes: echo requests with a mark, and what a frame that was seen on the way says of them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from vnicd.packet.announcement import checksum

ETH_HEADER = 14
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, ICMPV6 = 1, 6, 58
MARK = 12
"""Bytes of a mark, which is how a probe is told from all other traffic."""
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

_REQUESTS, _REPLIES = {4: 8, 6: 128}, {4: 0, 6: 129}
_ERRORS = {4: (3, 4, 5, 11, 12), 6: (1, 2, 3, 4)}
_TOO_BIG = {4: (3, 4), 6: (2, 0)}
_SOLICITATION, _ADVERTISEMENT = 135, 136


@dataclass(frozen=True)
class Seen:
    """A frame that a probe may have to do with."""

    what: str
    """request, reply, error, syn, syn-ack, reset, ask (who has an address?) or tell (somebody has it)."""
    source: str
    target: str
    """IP addresses; of `ask` and `tell`, who asks or is told, and `about` is the address in question."""
    mark: bytes = b""
    """Of an echo; of an error, that of the echo that it is about, if it quotes so much."""
    ports: tuple[int, int] = (0, 0)
    about: str = ""
    kind: int = 0
    code: int = 0
    mtu: int = 0
    target_mac: str = ""


def echo(version: int, ident: int, number: int, mark: bytes, size: int = 0) -> bytes:
    """An ICMP echo request, without the checksum where the kernel puts it in (IPv6); `size` bytes of IP packet."""
    header = 20 if version == 4 else 40
    payload = mark.ljust(max(MARK, size - header - 8), b"v")
    message = struct.pack("!BBHHH", _REQUESTS[version], 0, 0, ident, number) + payload
    if version == 6:
        return message
    return message[:2] + struct.pack("!H", checksum(message + b"\0" * (len(message) % 2))) + message[4:]


def frame(macs: tuple[str, str], addresses: tuple[str, str], message: bytes) -> bytes:
    """An Ethernet frame with an ICMP message; `macs` and `addresses` are those of the sender and the receiver."""
    source, target = (ipaddress.ip_address(text) for text in addresses)
    ethernet = bytes.fromhex((macs[1] + macs[0]).replace(":", ""))
    if source.version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, ICMP, 0)
        header += source.packed + target.packed
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        return ethernet + struct.pack("!H", IPV4) + header + message
    pseudo = source.packed + target.packed + struct.pack("!II", len(message), ICMPV6)
    total = checksum(pseudo + message + b"\0" * (len(message) % 2))
    message = message[:2] + struct.pack("!H", total) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, 64) + source.packed + target.packed
    return ethernet + struct.pack("!H", IPV6) + header + message


def mark_of(version: int, message: bytes) -> bytes:
    """The mark of an echo reply that a raw socket has received: with its IP header (IPv4) or without."""
    if version == 4:
        message = message[(message[0] & 15) * 4 :] if message else b""
    return message[8 : 8 + MARK] if message[:1] == bytes([_REPLIES[version]]) else b""


def parse(data: bytes) -> Seen | None:
    """What a frame is to a probe; None when it can have nothing to do with one. It may be cut off anywhere."""
    try:
        return _parse(data)
    except (struct.error, IndexError, ValueError):
        return None


def _parse(data: bytes) -> Seen | None:
    (kind,) = struct.unpack_from("!H", data, 12)
    target_mac = data[:6].hex(":")
    if kind == ARP:
        return _arp(data[ETH_HEADER:], target_mac)
    if kind not in (IPV4, IPV6):
        return None
    return _packet(4 if kind == IPV4 else 6, data[ETH_HEADER:], target_mac)


def _arp(data: bytes, target_mac: str) -> Seen | None:
    (operation,) = struct.unpack_from("!H", data, 6)
    sender, target = _ip(data[14:18]), _ip(data[24:28])
    if operation == 1 and sender != target:
        return Seen("ask", sender, "", about=target, target_mac=target_mac)
    return Seen("tell", sender, target, about=sender, target_mac=target_mac) if operation == 2 else None


def _packet(version: int, data: bytes, target_mac: str) -> Seen | None:
    if version == 4:
        size, protocol = (data[0] & 15) * 4, data[9]
        source, target = _ip(data[12:16]), _ip(data[16:20])
        if struct.unpack_from("!H", data, 6)[0] & 0x1FFF:
            return None  # a later fragment, which has no header
    else:
        size, protocol = 40, data[6]
        source, target = _ip(data[8:24]), _ip(data[24:40])
        if protocol == 44:  # a fragment
            if struct.unpack_from("!H", data, 42)[0] & 0xFFF8:
                return None
            size, protocol = 48, data[40]
    body = data[size:]
    if protocol == TCP:
        return _tcp(body, source, target, target_mac)
    if protocol == (ICMP if version == 4 else ICMPV6):
        return _icmp(version, body, source, target, target_mac)
    return None


def _tcp(body: bytes, source: str, target: str, target_mac: str) -> Seen | None:
    ports = struct.unpack_from("!HH", body)
    flags = body[13] if len(body) > 13 else SYN  # an error quotes eight bytes at least
    what = "reset" if flags & RST else {SYN: "syn", SYN | ACK: "syn-ack"}.get(flags & (SYN | ACK), "")
    return Seen(what, source, target, ports=(ports[0], ports[1]), target_mac=target_mac) if what else None


def _icmp(version: int, body: bytes, source: str, target: str, target_mac: str) -> Seen | None:
    kind, code = body[0], body[1]
    for what, kinds in (("request", _REQUESTS), ("reply", _REPLIES)):
        if kind == kinds[version]:
            return Seen(what, source, target, body[8 : 8 + MARK], target_mac=target_mac)
    if version == 6 and kind in (_SOLICITATION, _ADVERTISEMENT):
        what = "ask" if kind == _SOLICITATION else "tell"
        return Seen(what, source, target, about=_ip(body[8:24]), target_mac=target_mac)
    if kind not in _ERRORS[version]:
        return None
    quoted = _packet(version, body[8:], "")
    if quoted is None or quoted.what == "error":
        return None
    mtu = 0
    if (kind, code) == _TOO_BIG[version]:
        mtu = struct.unpack_from("!H", body, 6)[0] if version == 4 else struct.unpack_from("!I", body, 4)[0]
    return Seen("error", source, target, quoted.mark, quoted.ports, kind=kind, code=code, mtu=mtu)


def _ip(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


# -------------------------------------------------------------------------------- which frames are looked at

_LD_H, _LD_B, _LD_H_IND, _LDX_MSH, _LDX_IMM = 0x28, 0x30, 0x48, 0xB1, 0x01
_JEQ, _JSET, _JA, _RET = 0x15, 0x45, 0x05, 0x06
_WHOLE, _NONE = 1 << 16, 0


def watch_filter(tcp_ports: Iterable[int]) -> bytes:
    """A BPF program, as packed struct sock_filter, for a packet socket: all ARP and ICMP, and TCP of these ports.

    All else stays in the kernel, however much of it there is.
    """
    ports = sorted(set(tcp_ports))
    # Each test jumps over the rest of its block, so blocks are written from their ends.
    of_tcp = _ports(ports)
    ipv4 = [
        (_LD_B, 0, 0, 23),
        (_JEQ, 0, 1, ICMP),
        (_RET, 0, 0, _WHOLE),
        (_JEQ, 0, 3 + len(of_tcp), TCP),
        (_LD_H, 0, 0, 20),
        (_JSET, 1 + len(of_tcp), 0, 0x1FFF),
        (_LDX_MSH, 0, 0, ETH_HEADER),
        *of_tcp,
        (_RET, 0, 0, _NONE),
    ]
    ipv6 = [
        (_LD_B, 0, 0, 20),
        (_JEQ, 1, 0, ICMPV6),
        (_JEQ, 0, 1, 44),
        (_RET, 0, 0, _WHOLE),
        (_JEQ, 0, 1 + len(of_tcp), TCP),
        (_LDX_IMM, 0, 0, 40),
        *of_tcp,
        (_RET, 0, 0, _NONE),
    ]
    code = [
        (_LD_H, 0, 0, 12),
        (_JEQ, 0, 1, ARP),
        (_RET, 0, 0, _WHOLE),
        (_JEQ, 0, len(ipv4), IPV4),
        *ipv4,
        (_JEQ, 0, len(ipv6), IPV6),
        *ipv6,
        (_RET, 0, 0, _NONE),
    ]
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def _ports(ports: list[int]) -> list[tuple[int, int, int, int]]:
    """Take the frame when a port of its TCP header, behind an IP header of X bytes, is one of these; else run out."""
    code: list[tuple[int, int, int, int]] = []
    for offset in (0, 2):
        for port in ports:
            code += [
                (_LD_H_IND, 0, 0, ETH_HEADER + offset),
                (_JEQ, 0, 1, port),
                (_RET, 0, 0, _WHOLE),
            ]
    return code
