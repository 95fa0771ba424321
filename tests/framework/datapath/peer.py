"""The other side of a link as a test drives it: honest by default, and able to lie in every field."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass

from vnicd.native import memory
from vnicd.native.loop import Loop
from vnicd.native.testing import ring

VNET = bytes(ring.VNET_HEADER)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(to: str, source: str, payload: bytes = b"payload") -> bytes:
    """An Ethernet frame of an experimental EtherType."""
    return mac_bytes(to) + mac_bytes(source) + b"\x88\xb5" + payload


@dataclass
class Peer:
    """Port `port`'s end of a link to a loop that serves port `to`; it owns its half of the memory."""

    port: int
    to: int
    link_id: int
    own: memory.Region
    theirs: memory.Region
    producer: ring.Producer
    consumer: ring.Consumer
    doorbell: socket.socket

    @classmethod
    def attach(cls, loop: Loop, to: int, port: int, link_id: int = 77) -> Peer:
        """A link between `loop`, which serves port `to`, and a new peer at `port`."""
        own = memory.create_link(port, to, link_id, False)
        theirs = memory.create_link(to, port, link_id, False)
        ours, doorbell = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        seen = memory.open_shared(os.dup(own.fd), memory.LINK_SIZE, populate=False)
        loop.attach(port, link_id, theirs, seen, ours.detach())
        view = memory.open_shared(os.dup(theirs.fd), memory.LINK_SIZE, populate=False)
        return cls(port, to, link_id, own, view, ring.Producer(own, view), ring.Consumer(own, view), doorbell)

    def send(
        self,
        data: bytes,
        kind: int = ring.FRAME,
        source: int | None = None,
        link_id: int = 0,
        vnet: bytes = VNET,
    ) -> None:
        """Write one frame (a vnet header is put before it) and ring the doorbell, needed or not."""
        payload = data if kind == ring.MARK else vnet + data
        source = self.port if source is None else source
        assert self.producer.write(payload, kind, source, link_id)
        self.producer.publish()
        self.ring()

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # enough bytes wait in it
            self.doorbell.send(b"\1", socket.MSG_DONTWAIT)

    def receive(self) -> tuple[int, int, bytes] | None:
        """The next record as (kind, source, frame)."""
        got = self.consumer.read()
        self.consumer.publish()
        if got is None:
            return None
        kind, source, payload = got
        return kind, source, payload[len(VNET) :] if kind == ring.FRAME else payload

    def poke(self, field: str, value: int) -> None:
        """Set a cursor of ours to anything."""
        struct.pack_into("<Q", memoryview(self.own), ring.OFFSETS[field], value & (1 << 64) - 1)

    def write_raw(self, position: int, data: bytes) -> None:
        """Put anything anywhere into our ring."""
        start = ring.RING_OFFSET + position
        memoryview(self.own)[start : start + len(data)] = data

    def close(self) -> None:
        self.doorbell.close()
