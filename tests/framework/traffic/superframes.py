"""Super-frames, plain and in tunnels, and the segments that they stand for: each built from its description alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address

NEEDS_CSUM = 1
TCPV4, TCPV6, UDP_L4, ECN = 1, 4, 5, 0x80
IPIP, TCP, UDP, IPV6, GRE = 4, 6, 17, 41, 47
FIN, SYN, PSH, ACK, CWR = 1, 2, 8, 16, 128

OUTER = {4: ("192.0.2.1", "192.0.2.77"), 6: ("2001:db8::1", "2001:db8::77")}
INNER = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd00:9::1", "fd00:9::2")}
JUMBO = bytes.fromhex("0000c20400000000")
"""IPv6's hop-by-hop header of a jumbogram (RFC 2675), without the next header and the length."""

INNER_MACS = bytes.fromhex("0200000000bb0200000000aa")
ENCAPSULATED = {
    "vxlan": (4789, bytes.fromhex("0800000000002a00"), b""),
    "vlan": (4789, bytes.fromhex("0800000000002a00"), bytes.fromhex("81000123")),
    "geneve": (6081, bytes.fromhex("0200655800002a00 0102030100000042"), b""),
}
"""Of each tunnel by UDP: port, header, and a tag of the inner frame."""

TUNNELS = (*ENCAPSULATED, "gre", "gretap", "gre-csum", "ipip")


def ones_sum(data: bytes) -> int:
    """The one's complement sum of 16-bit words, by its definition; 0 only for zeros."""
    total = int.from_bytes(data + bytes(len(data) % 2), "big")
    return (total - 1) % 0xFFFF + 1 if total else 0


def checksum(data: bytes) -> int:
    return 0xFFFF - ones_sum(data)


def pseudo(ends: tuple[str, str], protocol: int, length: int) -> bytes:
    source, target = (ip_address(each).packed for each in ends)
    return source + target + struct.pack("!II", length, protocol)


@dataclass(frozen=True)
class Super:
    """A super-frame. `outer` and `inner` are IP versions; without a tunnel there is only the outer."""

    payload: bytes
    gso_size: int
    outer: int = 4
    tunnel: str = ""
    inner: int = 4
    transport: int = TCP
    udp_checksum: bool = False
    """Whether the tunnel's UDP has one."""
    flags: int = ACK | PSH
    seq: int = 0xFFFFF000
    ident: int = 0xFFFE
    options: bytes = b"\1\1\x08\x0a" + bytes(range(8))
    """Of TCP."""
    ip_options: bytes = b""
    """Of the innermost IPv4 header."""
    macs: bytes = bytes.fromhex("02000000000202000000000a")

    @property
    def version(self) -> int:
        """Of the innermost IP header."""
        return self.inner if self.tunnel else self.outer

    def vnet(self) -> bytes:
        """What the kernel says of it: nothing of a tunnel."""
        kind = UDP_L4 if self.transport == UDP else TCPV4 if self.version == 4 else TCPV6
        if self.flags & CWR and self.transport == TCP:
            kind |= ECN
        head, offset = self.headers(), 16 if self.transport == TCP else 6
        size = 20 + len(self.options) if self.transport == TCP else 8
        return struct.pack("=BBHHHH", NEEDS_CSUM, kind, head, self.gso_size, head - size, offset)

    def headers(self) -> int:
        """Bytes before the payload."""
        return len(self.build(b"", 0, self.flags, 0, True)) + len(JUMBO) * self.is_jumbogram

    @property
    def is_jumbogram(self) -> bool:
        """Whether it has a header more, for its length: IPv6 that is longer than its own field can tell."""
        return self.outer == 6 and not self.tunnel and len(self.payload) + 20 + len(self.options) > 0xFFFF

    def frame(self) -> bytes:
        """The whole; of the checksums that cover all of it there is only the pseudo header's sum."""
        return self.build(self.payload, self.seq, self.flags, 0, True)

    def segments(self) -> list[bytes]:
        """What it stands for, with all checksums."""
        return self._pieces(1, False)

    def super_segments(self) -> list[bytes]:
        """Super-frames as large as IP can have that stand for the same."""
        head = len(self.build(b"", 0, self.flags, 0, True)) - 14
        return self._pieces((0xFFFF - head) // self.gso_size, True)

    def vnet_of_pieces(self) -> bytes:
        """Of those; the last may be none."""
        return replace(self, payload=b"").vnet()

    def _pieces(self, joined: int, partial: bool) -> list[bytes]:
        starts = range(0, len(self.payload), joined * self.gso_size)
        made = []
        for number, start in enumerate(starts):
            part = self.payload[start : start + joined * self.gso_size]
            flags = self.flags
            if number:
                flags &= ~CWR
            if start != starts[-1]:
                flags &= ~(FIN | PSH)
            made.append(self.build(part, self.seq + start, flags, number * joined, partial))
        return made

    def build(self, part: bytes, seq: int, flags: int, number: int, partial: bool) -> bytes:
        ends = (INNER if self.tunnel else OUTER)[self.version]
        if self.transport == TCP:
            size = 20 + len(self.options)
            head = struct.pack("!HHIIBBHHH", 5001, 80, seq & 0xFFFFFFFF, 7, size << 2, flags, 512, 0, 0)
            packet = self._finish(head + self.options + part, 16, ends, TCP, partial)
        else:
            head = struct.pack("!HHHH", 5001, 53, 8 + len(part), 0)
            packet = self._finish(head + part, 6, ends, UDP, partial)
        if not self.tunnel:
            return self._ethernet(
                self.outer, self._ip(self.outer, ends, self.transport, packet, number, self.ip_options)
            )
        inner = self._ip(self.inner, ends, self.transport, packet, number, self.ip_options)
        protocol, body = self._tunnel(inner, partial)
        return self._ethernet(self.outer, self._ip(self.outer, OUTER[self.outer], protocol, body, number))

    def _tunnel(self, inner: bytes, partial: bool) -> tuple[int, bytes]:
        """The outer protocol, and what follows the outer IP header."""
        kind = b"\x08\x00" if self.inner == 4 else b"\x86\xdd"
        boxed = INNER_MACS + kind + inner
        if self.tunnel in ENCAPSULATED:
            port, head, tag = ENCAPSULATED[self.tunnel]
            return UDP, self._udp(port, head + boxed[:12] + tag + boxed[12:], partial)
        if self.tunnel == "ipip":
            return IPIP if self.inner == 4 else IPV6, inner
        if self.tunnel == "gretap":
            return GRE, bytes.fromhex("20006558") + b"\0\0\0\7" + boxed
        if self.tunnel == "gre":
            return GRE, b"\0\0" + kind + inner
        body = b"\x80\0" + kind + bytes(4) + inner
        value = 0 if partial else checksum(body)
        return GRE, body[:4] + value.to_bytes(2, "big") + body[6:]

    def _udp(self, port: int, body: bytes, partial: bool) -> bytes:
        packet = struct.pack("!HHHH", 40000, port, 8 + len(body), 0) + body
        return self._finish(packet, 6, OUTER[self.outer], UDP, partial) if self.udp_checksum else packet

    def _finish(
        self, packet: bytes, place: int, ends: tuple[str, str], protocol: int, partial: bool
    ) -> bytes:
        """With its checksum, or with the sum of its pseudo header."""
        head = pseudo(ends, protocol, len(packet))
        value = ones_sum(head) if partial else checksum(head + packet)
        if protocol == UDP:
            value = value or 0xFFFF
        return packet[:place] + value.to_bytes(2, "big") + packet[place + 2 :]

    def _ip(
        self,
        version: int,
        ends: tuple[str, str],
        protocol: int,
        body: bytes,
        number: int,
        options: bytes = b"",
    ) -> bytes:
        source, target = (ip_address(each).packed for each in ends)
        if version == 6:
            if len(body) > 0xFFFF:
                body = bytes([protocol]) + JUMBO[1:4] + struct.pack("!I", len(body) + len(JUMBO)) + body
                return struct.pack("!IHBB", 6 << 28 | 0x12345, 0, 0, 63) + source + target + body
            return struct.pack("!IHBB", 6 << 28 | 0x12345, len(body), protocol, 63) + source + target + body
        size = 20 + len(options)
        ident = (self.ident + number) & 0xFFFF
        length = size + len(body) if size + len(body) <= 0xFFFF else 0
        head = struct.pack("!BBHHHBBH", 0x40 | size >> 2, 2, length, ident, 0x4000, 63, protocol, 0)
        head += source + target + options
        return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body

    def _ethernet(self, version: int, packet: bytes) -> bytes:
        return self.macs + (b"\x08\x00" if version == 4 else b"\x86\xdd") + packet
