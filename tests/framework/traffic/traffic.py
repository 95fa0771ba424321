"""Traffic between two ends that is checked in full: streams, super-datagrams, and flows that nothing may disturb."""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Event

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import Flow, udp
from tests.framework.traffic.streams import MEGABYTE, connect, receive_all

UDP_SEGMENT = 103


def address(partition: Partition, version: int) -> str:
    return partition.ip if version == 4 else partition.ip6


@cache
def _noise(seed: int, total: int) -> tuple[bytes, str]:
    """Random bytes and their hash."""
    data = random.Random(seed).randbytes(total)
    return data, hashlib.sha256(data).hexdigest()


def _send(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def carry(one: Partition, other: Partition, target: str, total: int = MEGABYTE) -> None:
    """A TCP connection from `one` to an address of `other`: as much each way at once, and all must be right."""
    near, far = connect(one, other, target)
    with near, far, ThreadPoolExecutor(4) as pool:
        ways = [(near, far, *_noise(1, total)), (far, near, *_noise(2, total))]
        arrived = [pool.submit(receive_all, receiver) for _, receiver, _, _ in ways]
        for sent in [pool.submit(_send, sender, data) for sender, _, data, _ in ways]:
            sent.result()
        for (*_, digest), got in zip(ways, arrived, strict=True):
            assert got.result() == digest, (one, other)


def send_segmented(one: Partition, other: Partition, version: int) -> None:
    """A super-datagram arrives as the datagrams it stands for."""
    payload = bytes(index % 251 for index in range(20_500))
    with udp(other, address(other, version)) as receiver, udp(one, address(one, version)) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sender.sendto(payload, receiver.getsockname())
        pieces = [receiver.recv(1 << 16) for _ in range(21)]
    assert b"".join(pieces) == payload, (one, other)
    assert [len(piece) for piece in pieces] == [1000] * 20 + [500], (one, other)


@contextmanager
def undisturbed(one: Partition, other: Partition) -> Iterator[None]:
    """Datagrams both ways for as long as the block runs, of which none may be lost, doubled or overtaken."""
    ended = Event()

    def send(flow: Flow) -> None:
        while not ended.is_set():
            flow.send(1000, 0.05)

    with Flow(one, other) as there, Flow(other, one) as back, ThreadPoolExecutor(2) as pool:
        sending = [pool.submit(send, flow) for flow in (there, back)]
        try:
            yield
        finally:
            ended.set()
        for each in sending:
            each.result()
        there.check()
        back.check()
        assert there.sent > 50
