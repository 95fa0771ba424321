"""Raw Ethernet frames: sent from and seen at a partition's interface."""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass

from tests.framework.fabric.namespaces import in_namespace
from tests.framework.fabric.partition import Partition

ETH_P_ALL = 3
ETH_P_8021Q = 0x8100
EXPERIMENTAL = 0x88B5
"""An EtherType that IEEE reserves for experiments: no stack knows it."""

BROADCAST = "ff:ff:ff:ff:ff:ff"
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_AUXDATA = 8
PACKET_MR_PROMISC = 1
TP_STATUS_VLAN_VALID = 1 << 4
AUXDATA = struct.Struct("=IIIHHHH")


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(to: str, source: str, ethertype: int, payload: bytes, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else struct.pack("!HH", ETH_P_8021Q, vlan)
    return octets(to) + octets(source) + tag + struct.pack("!H", ethertype) + payload


@dataclass(frozen=True)
class Seen:
    """A frame that arrived, with its VLAN tag taken off as the kernel does."""

    to: str
    source: str
    ethertype: int
    vlan: int | None
    payload: bytes


class Tap:
    """A packet socket on a partition's interface: sends any frame, sees all that arrive (promiscuous)."""

    def __init__(self, partition: Partition, ethertype: int = ETH_P_ALL) -> None:
        self.mac = partition.mac
        self._sock = partition.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._sock.bind((partition.ifname, ethertype))
        index = in_namespace(partition.netns, lambda: socket.if_nametoindex(partition.ifname))
        promiscuous = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        self._sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous)

    def send(self, raw: bytes) -> None:
        self._sock.send(raw)

    def receive(self, payload: bytes, timeout: float = 5) -> list[Seen]:
        """All incoming frames up to and with the first whose payload begins with `payload`."""
        seen: list[Seen] = []
        deadline = time.monotonic() + timeout
        while not (seen and seen[-1].payload.startswith(payload)):
            left = deadline - time.monotonic()
            arrived = left > 0 and select.select([self._sock], [], [], left)[0]
            assert arrived, f"{payload!r} was not seen within {timeout:g} s, only {seen}"
            if (one := self._next()) is not None:
                seen.append(one)
        return seen

    def _next(self) -> Seen | None:
        raw, extra, _, sender = self._sock.recvmsg(1 << 17, socket.CMSG_SPACE(AUXDATA.size))
        if sender[2] == socket.PACKET_OUTGOING:
            return None
        vlan = None
        for level, kind, data in extra:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, *_, tci, _tpid = AUXDATA.unpack(data)
                vlan = tci if status & TP_STATUS_VLAN_VALID else None
        (ethertype,) = struct.unpack_from("!H", raw, 12)
        return Seen(raw[:6].hex(":"), raw[6:12].hex(":"), ethertype, vlan, raw[14:])
