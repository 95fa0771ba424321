"""BIG TCP: super-frames longer than 64 KiB, which a NIC puts together or another virtual one hands over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import SO_RCVBUFFORCE
from tests.framework.traffic.frames import ETH_P_ALL
from tests.framework.traffic.streams import MEGABYTE
from tests.framework.traffic.traffic import address, carry
from tests.framework.uplink.bigtcp import set_max_sizes
from tests.framework.uplink.uplink import Uplinked

SIZE = 200_000
ORDINARY = 65_536
RECORD = 65_600
BUSY = {"ring_full"}
"""What a receiver that a busy machine gives no time loses, of any traffic."""


@contextmanager
def big_tcp(*ends: Partition) -> Iterator[None]:
    for size in (SIZE, ORDINARY):
        for end in ends:
            set_max_sizes(end.name, end.ifname, size)
        if size == SIZE:
            yield


class Longest:
    """How long the longest frame was that came in by an interface."""

    def __init__(self, end: Partition) -> None:
        self.sock = end.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.sock.bind((end.ifname, ETH_P_ALL))
        self.sock.setblocking(False)

    def take(self) -> int:
        longest = 0
        with self.sock:
            while True:
                try:
                    # Only the length is of interest, so a short buffer will do.
                    longest = max(longest, self.sock.recv_into(bytearray(1), 1, socket.MSG_TRUNC))
                except BlockingIOError:
                    return longest


def drops(up: Uplinked) -> dict[str, int]:
    """All frames that were dropped, by reason."""
    found: dict[str, int] = {}
    for port in up.machine.fabric.call("stats")["ports"]:
        for reason, count in port["drops"].items():
            if reason not in BUSY:
                found[reason] = found.get(reason, 0) + count
    return found


@pytest.mark.parametrize("version", [4, 6])
def test_streams(uplinked: Uplinked, version: int) -> None:
    """Both ways at once; in nat mode the kernel cuts what it forwards to the partitions."""
    before = drops(uplinked)
    with big_tcp(uplinked.here, uplinked.remote):
        longest = Longest(uplinked.here)
        for one, other in uplinked.ways[: 1 if uplinked.mode == "nat" else 2]:
            carry(one, other, address(other, version), 16 * MEGABYTE)
        assert longest.take() > RECORD
    assert drops(uplinked) == before


def test_a_partition_cannot_send_such(uplinked: Uplinked) -> None:
    """Its interface does not offer it, so none comes from a TAP."""
    with pytest.raises(OSError, match="Invalid argument"):
        set_max_sizes(uplinked.web.netns.rpartition("/")[2], uplinked.web.ifname, SIZE)
