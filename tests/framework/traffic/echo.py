"""Echo requests sent and answered without a ping process for each: who reaches whom, in one go."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterable

from tests.framework.fabric.namespaces import socket_in
from tests.framework.fabric.partition import Partition

HEADER = struct.Struct("!BBHHHQ")
"""Type, code, checksum, identifier, sequence; and the full number as payload."""

REQUEST = {4: 8, 6: 128}
REPLY = {4: 0, 6: 129}
AGAIN = 0.2
"""Seconds after which an echo that was not answered is sent once more."""

Way = tuple[Partition, str]
"""From a partition to an address."""


class Echo:
    """A raw socket of a partition for echo requests of one IP version; a context manager."""

    def __init__(self, partition: Partition, version: int = 4) -> None:
        self.version = version
        family, proto = (
            (socket.AF_INET, socket.IPPROTO_ICMP)
            if version == 4
            else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
        )
        self.socket = socket_in(partition.netns, family, socket.SOCK_RAW, proto)
        self.socket.setblocking(False)
        self.identifier = (os.getpid() ^ self.socket.fileno() << 8) & 0xFFFF

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, target: str, number: int) -> None:
        """OSError when the kernel knows no way."""
        words = (REQUEST[self.version], 0, 0, self.identifier, number & 0xFFFF, number)
        if self.version == 4:  # for IPv6 the kernel does it
            words = (*words[:2], _checksum(HEADER.pack(*words)), *words[3:])
        self.socket.sendto(HEADER.pack(*words), (target, 0))

    def receive(self) -> int | None:
        """The number of an answer; None when there is none now."""
        while True:
            try:
                data = self.socket.recv(2048)
            except BlockingIOError:
                return None
            data = data[(data[0] & 15) * 4 :] if self.version == 4 else data
            if len(data) < HEADER.size:
                continue
            kind, _, _, identifier, _, number = HEADER.unpack_from(data)
            if kind == REPLY[self.version] and identifier == self.identifier:
                return int(number)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def unreached(ways: Iterable[Way], timeout: float) -> list[Way]:
    """The ways by which no answer came within `timeout` seconds, whatever was tried."""
    waiting = dict(enumerate(ways))
    version = {number: 6 if ":" in target else 4 for number, (_, target) in waiting.items()}
    sockets: dict[tuple[str, int], Echo] = {}
    deadline = time.monotonic() + timeout
    try:
        for number, (partition, _) in waiting.items():
            key = (partition.netns, version[number])
            if key not in sockets:
                sockets[key] = Echo(partition, version[number])
        while waiting and time.monotonic() < deadline:
            for number, (partition, target) in waiting.items():
                try:
                    sockets[partition.netns, version[number]].send(target, number)
                except OSError:
                    pass  # no route or no neighbour yet: that is what is tried again
            _collect(waiting, list(sockets.values()), min(deadline, time.monotonic() + AGAIN))
    finally:
        for each in sockets.values():
            each.socket.close()
    return list(waiting.values())


def _collect(waiting: dict[int, Way], sockets: list[Echo], until: float) -> None:
    """Takes answers until none is missing or the time is up."""
    by_fd = {each.socket.fileno(): each for each in sockets}
    while waiting and (left := until - time.monotonic()) > 0:
        for fd in select.select(list(by_fd), [], [], left)[0]:
            while (number := by_fd[fd].receive()) is not None:
                waiting.pop(number, None)
