"""A loop with a hostile peer: the link is dropped with its reason, the loop and the other links go on."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.framework.datapath.loops import LoopBench
from tests.framework.datapath.peer import Peer, frame
from tests.framework.waiting import wait_until
from vnicd.native import memory
from vnicd.native.testing import ring

ME, A, B = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
HEADER = struct.Struct("<IHHQ")


@pytest.fixture
def bench() -> Iterator[LoopBench]:
    with LoopBench(1, {1: ME, 2: A, 3: B}) as bench:
        yield bench


def still_works(bench: LoopBench) -> None:
    """Another peer is served as ever."""
    peer = bench.direct(3)
    peer.send(frame(ME, B, b"fine"))
    assert bench.tap_receive() == frame(ME, B, b"fine")
    bench.tap_send(frame(B, ME, b"fine"))
    assert wait_until(peer.receive, 5, "service for the other peer") == (ring.FRAME, 1, frame(B, ME, b"fine"))


def head(value: int) -> Callable[[Peer], None]:
    return lambda peer: peer.poke("head", value)


def record(length: int, kind: int) -> Callable[[Peer], None]:
    def act(peer: Peer) -> None:
        peer.write_raw(0, HEADER.pack(length, kind, 2, 0))
        peer.poke("head", 128)

    return act


@pytest.mark.parametrize(
    ("lie", "fault"),
    [
        (head(7), "cursor_unaligned"),
        (head(-64), "cursor_back"),
        (head(ring.RING_SIZE * 3), "cursor_ahead"),
        (record(5, ring.FRAME), "record_short"),
        (record(1 << 31, ring.FRAME), "record_long"),
        (record(5000, ring.FRAME), "record_beyond"),
        (record(100, 99), "record_kind"),
    ],
)
def test_a_lie_ends_the_link_and_only_that(bench: LoopBench, lie: Callable[[Peer], None], fault: str) -> None:
    peer = bench.direct(2)
    lie(peer)
    peer.ring()
    assert wait_until(bench.gone, 5, "the report") == {2: fault}
    assert bench.counter("link_faults") == 1
    bench.loop.detach(2)
    still_works(bench)


def test_a_consumer_that_lies(bench: LoopBench) -> None:
    peer = bench.direct(2)
    peer.poke("tail", 1 << 50)
    bench.fill(2, A)
    assert wait_until(bench.gone, 5, "the report") == {2: "cursor_ahead"}
    bench.loop.detach(2)
    still_works(bench)


@pytest.mark.parametrize("tail", [-64, 13, 64, 1 << 10, 1 << 14, 1 << 40])
def test_a_wrong_cursor_when_the_link_ends(bench: LoopBench, tail: int) -> None:
    """What was not read is counted from there on: as much as there can be, and nothing when that can't be."""
    peer = bench.direct(2)
    for _ in range(20):
        bench.tap_send(frame(A, ME, bytes([255]) * 1000))
    wait_until(lambda: bench.counter("tap_rx_frames") == 20, 5, "all are in the ring")
    peer.poke("tail", tail)
    peer.close()
    bench.loop.detach(2)
    assert bench.drops().get("unread", 0) < 20
    still_works(bench)


def wrong_identity(offset: int, data: bytes) -> memory.Region:
    region = memory.create_link(2, 1, 5, False)
    memoryview(region)[offset : offset + len(data)] = data
    return region


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0, b"XXXX"),  # magic
        (4, b"\xff\xff"),  # version
        (6, b"\x09\x00"),  # maker
        (8, b"\x09\x00"),  # peer
        (12, struct.pack("<I", 8192)),  # where the ring is
        (16, struct.pack("<I", 1 << 30)),  # its size
        (20, struct.pack("<I", 1 << 30)),  # longest record
        (24, struct.pack("<Q", 6)),  # link
    ],
)
def test_a_wrong_identity_is_not_attached(bench: LoopBench, offset: int, data: bytes) -> None:
    made = wrong_identity(offset, data)
    theirs = memory.open_shared(os.dup(made.fd), memory.LINK_SIZE)
    own = memory.create_link(1, 2, 5, False)
    ours, other = socket.socketpair()
    with ours, other, pytest.raises(ValueError, match="bad_identity"):
        bench.loop.attach(2, 5, own, theirs, ours.fileno())
    assert bench.loop.peers() == []
    still_works(bench)


def test_a_header_that_changes_while_it_is_read(bench: LoopBench) -> None:
    """A writer flips a record's length and destination for as long as the loop reads; only whole truths get out."""
    peer = bench.direct(2)
    stop = threading.Event()
    good = HEADER.pack(10 + 14 + 60, ring.FRAME, 2, 0)
    evil = HEADER.pack(0xFFFFFFF0, ring.FRAME, 2, 0)

    def flip() -> None:
        while not stop.is_set():
            for position in range(0, ring.RING_SIZE, 128 * 64):
                peer.write_raw(position, evil)
                peer.write_raw(position, good)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for _ in range(300):
            if bench.gone():
                break
            body = frame(ME, A, bytes(60))
            if peer.producer.write(bytes(10) + body, ring.FRAME, 2, 0):
                peer.producer.publish()
                peer.ring()
            while bench.tap_peek() is not None:
                assert bench.tap_receive()[:6] == body[:6]
    finally:
        stop.set()
        thread.join()
    assert set(bench.gone().values()) <= {"record_long"}
    bench.loop.detach(2)
    while bench.tap_peek() is not None:
        bench.tap_receive()
    still_works(bench)


def test_a_flooded_doorbell_does_not_block_the_loop(bench: LoopBench) -> None:
    peer = bench.direct(2)
    peer.doorbell.setblocking(False)
    with pytest.raises(BlockingIOError):
        for _ in range(1_000_000):
            peer.doorbell.send(b"x" * 4096)
    still_works(bench)


def test_a_peer_that_never_empties_its_doorbell(bench: LoopBench) -> None:
    """It asks for a wake-up at each record and reads none of the bytes: our writes to it must not block."""
    peer = bench.direct(2)
    for number in range(500):
        peer.poke("wake_at", 64 * 2 * number)
        bench.tap_send(frame(A, ME, bytes(20)))
        wait_until(peer.receive, 5, "the frame")
    still_works(bench)
