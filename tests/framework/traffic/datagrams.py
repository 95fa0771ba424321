"""UDP flows with numbered datagrams: which of them came, and in which order."""

from __future__ import annotations

import socket
import struct
from threading import Event, Thread

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.streams import family_of
from tests.framework.waiting import is_bearable, pace, wait_until

SO_RCVBUFFORCE = 33
NUMBER = struct.Struct("!Q")


def udp(partition: Partition, address: str = "0.0.0.0", port: int = 0) -> socket.socket:
    """A bound UDP socket with a large receive buffer."""
    sock = partition.socket(family_of(address), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    sock.settimeout(5)
    sock.bind((address, port))
    return sock


class Flow:
    """Datagrams numbered from 0 from one partition to another, received by a thread.

    A context manager; `check` fails when a datagram was lost, doubled or overtaken by another, see `is_bearable`.
    """

    def __init__(self, sender: Partition, receiver: Partition, size: int = 64) -> None:
        self.label = f"{sender.name} to {receiver.name}"
        self.sent = 0
        self.received: list[int] = []
        self._padding = bytes(size - NUMBER.size)
        self._in = udp(receiver, receiver.ip)
        self._in.settimeout(0.05)
        self._out = udp(sender, sender.ip)
        self._out.connect(self._in.getsockname())
        self._stop = Event()
        self._thread = Thread(target=self._receive, daemon=True)

    def __enter__(self) -> Flow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._in.close()
        self._out.close()

    def _receive(self) -> None:
        while not self._stop.is_set():
            try:
                self.received.append(NUMBER.unpack_from(self._in.recv(1 << 16))[0])
            except TimeoutError:
                continue

    def send_one(self) -> None:
        self._out.send(NUMBER.pack(self.sent) + self._padding)
        self.sent += 1

    def send(self, per_second: float, seconds: float) -> None:
        """Sends at a steady rate."""
        for _ in pace(per_second, seconds):
            self.send_one()

    def check(self, timeout: float = 5) -> None:
        """Waits for the last datagram; fails unless all came, once and in order."""
        try:
            wait_until(lambda: self.sent - 1 in self.received[-64:], timeout, "the last datagram")
        finally:
            came = sorted(set(self.received))
            assert self.received == came and is_bearable(self.sent - len(came), self.sent), self._verdict()

    def _verdict(self) -> str:
        """Which datagrams are missing, doubled or late, in a line."""
        came = set(self.received)
        lost = [number for number in range(self.sent) if number not in came]
        late = [
            (before, after)
            for before, after in zip(self.received, self.received[1:], strict=False)
            if after != before + 1
        ]
        return (
            f"flow {self.label}: {self.sent} sent, {len(self.received)} came, "
            f"lost {lost[:20]}, breaks in the order {late[:20]}"
        )
