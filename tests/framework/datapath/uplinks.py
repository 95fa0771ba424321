"""A hosting daemon's loop under test with an uplink: sockets stand for the NIC, its rx queues and the port 0 TAP."""

from __future__ import annotations

import os
import select
import socket

from tests.framework.datapath.loops import LoopBench
from tests.framework.datapath.peer import VNET, Peer
from vnicd.native import directory

HOST, NIC = "02:00:00:00:00:10", "02:00:00:00:00:11"


class UplinkBench(LoopBench):
    """Ports 1 and up are partitions, each with a link; port 0's TAP and the NIC are sockets."""

    def __init__(self, macs: dict[int, str], shared: bool = False, mtu: int = 1500) -> None:
        super().__init__(0, {0: NIC if shared else HOST, **macs}, relays=True)
        self.queues = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
        self.wire, self.transmit = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.wire.settimeout(5)
        for sock in (self.transmit, *(inner for _, inner in self.queues)):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.loop.set_tap(self.inner.fileno())
        self.shared, self.mtu = shared, mtu
        self.directory.set_flags(directory.UPLINK | (directory.GUARD if shared else 0))
        self.serve()
        for port in macs:
            self.attach(port)

    def serve(self) -> None:
        """Give the loop the uplink."""
        inner = [end.fileno() for _, end in self.queues]
        self.loop.set_uplink(self.transmit.fileno(), inner, NIC, self.mtu, self.shared)

    def attach(self, port: int) -> None:
        self.peers[port] = Peer.attach(self.loop, 0, port, link_id=1000 + port)
        self.loop.open(port)

    def addresses(self, port: int, *texts: str) -> None:
        """Enter a port's addresses into the directory, and have the loop read it before what comes next."""
        self.directory.put(port, directory.LIVE, self.macs[port], 1, 1500, texts)
        self.loop.set_directory(directory.open_shared(os.dup(self.directory.region.fd)))

    def inbound(self, data: bytes, queue: int = 1, vnet: bytes = VNET) -> None:
        """A frame arrives at the NIC, in this rx queue."""
        self.queues[queue][0].send(vnet + data)

    def outbound(self) -> bytes:
        """The next frame that leaves by the NIC, without its vnet header."""
        return self.wire.recv(1 << 17)[len(VNET) :]

    def outbound_peek(self) -> bytes | None:
        ready = select.select([self.wire], [], [], 0)[0]
        return self.wire.recv(1 << 17, socket.MSG_PEEK) if ready else None

    def __exit__(self, *words: object) -> None:
        super().__exit__(None, None, None)
        for sock in (self.wire, self.transmit, *(end for pair in self.queues for end in pair)):
            sock.close()
