"""A loop under test: its thread, a socket that stands for the TAP, a directory and counters."""

from __future__ import annotations

import os
import select
import socket
import threading
from types import TracebackType

from tests.framework.datapath.peer import VNET, Peer, frame
from tests.framework.waiting import wait_until
from vnicd.native import counters, directory
from vnicd.native.loop import Loop
from vnicd.native.testing import ring


class LoopBench:
    """Serves port `port` of a fabric with these MACs. A SEQPACKET socket keeps frames apart as a TAP does."""

    def __init__(self, port: int, macs: dict[int, str], relays: bool = False) -> None:
        self.port = port
        self.macs = macs
        self.counters = counters.create()
        self.directory = directory.Writer()
        for number, mac in macs.items():
            self.directory.put(number, directory.LIVE, mac, 1, 1500, [])
        self.loop = Loop(port, self.counters, relays=relays)
        self.loop.set_directory(directory.open_shared(os.dup(self.directory.region.fd)))
        self.tap, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inner.setblocking(False)
        self.inner = inner
        self.tap.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.tap.settimeout(5)
        if not relays:
            self.loop.set_tap(inner.fileno())
        self.peers: dict[int, Peer] = {}
        self.reported: dict[int, str] = {}
        self.thread = threading.Thread(target=self.loop.run)

    def __enter__(self) -> LoopBench:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.loop.stop()
        self.thread.join()
        self.tap.close()
        self.inner.close()

    def relay(self) -> Peer:
        """The link to the hosting daemon."""
        self.peers[0] = Peer.attach(self.loop, self.port, 0, link_id=1000)
        self.loop.open(0)
        return self.peers[0]

    def direct(self, port: int) -> Peer:
        """An open link to a peer that is not held."""
        link_id = 2000 + port
        self.peers[port] = peer = Peer.attach(self.loop, self.port, port, link_id)
        assert self.loop.open(port)
        if 0 in self.peers and self.port:
            self.receive(0)  # our mark
            self.peers[0].send(bytes([self.port]) + bytes(23), kind=ring.MARK, source=port, link_id=link_id)
        return peer

    def receive(self, port: int) -> tuple[int, int, bytes]:
        """The next record that the loop has sent to a port."""
        record = wait_until(self.peers[port].receive, 5, f"a record for port {port}")
        assert record is not None
        return record

    def tap_send(self, data: bytes) -> None:
        self.tap.send(VNET + data)

    def tap_receive(self) -> bytes:
        return self.tap.recv(1 << 17)[len(VNET) :]

    def tap_peek(self) -> bytes | None:
        """The next frame without taking it, None when there is none now."""
        ready = select.select([self.tap], [], [], 0)[0]
        return self.tap.recv(1 << 17, socket.MSG_PEEK) if ready else None

    def fill(self, port: int, mac: str) -> None:
        """Send more to a port than its ring holds."""
        for _ in range(2 * ring.RING_SIZE // 32768):
            self.tap_send(frame(mac, self.macs[self.port], bytes(32768)))

    def wanted(self) -> list[int]:
        return wait_until(lambda: self.loop.take_events()[0], 5, "a wish for a link")

    def gone(self) -> dict[int, str]:
        """All that was reported as gone so far."""
        self.reported.update(self.loop.take_events()[1])
        return self.reported

    def counter(self, name: str) -> int:
        return counters.port(self.counters)[name]

    def drops(self) -> dict[str, int]:
        return {reason: n for reason, n in counters.drops(self.counters).items() if n}

    def wait_for_drop(self, reason: str) -> None:
        wait_until(
            lambda: self.drops().get(reason), 5, f"a frame dropped as {reason} (dropped: {self.drops()})"
        )

    def quiet(self) -> bool:
        """Whether the loop made no round while we looked away for a moment."""
        before = self.counter("rounds")
        threading.Event().wait(0.02)
        return self.counter("rounds") == before
