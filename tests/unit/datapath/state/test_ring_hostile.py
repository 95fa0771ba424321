"""A ring whose other side lies: every lie is a fault of its own name, and nothing is read or written beyond it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vnicd.native import memory
from vnicd.native.testing import ring

HEADER = struct.Struct("<IHHQ")


class Ends:
    """We consume and produce; the other side is raw memory that the test writes."""

    def __init__(self) -> None:
        self.liar = memory.create_link(1, 2, 5, False)
        own = memory.create_link(2, 1, 5, False)
        view = memory.open_shared(os.dup(self.liar.fd), memory.LINK_SIZE)
        self.consumer = ring.Consumer(own, view)
        self.producer = ring.Producer(own, view)

    def poke(self, field: str, value: int) -> None:
        struct.pack_into("<Q", memoryview(self.liar), ring.OFFSETS[field], value & (1 << 64) - 1)

    def record(self, position: int, length: int, kind: int = ring.FRAME) -> None:
        HEADER.pack_into(memoryview(self.liar), ring.RING_OFFSET + position, length, kind, 1, 0)


def good(ends: Ends) -> None:
    """One honest record of 128 bytes, which is read."""
    ends.record(0, 100)
    ends.poke("head", 128)
    assert ends.consumer.read() is not None


@pytest.mark.parametrize("head", [1, 63, 65, 128 + 32])
def test_an_unaligned_cursor(head: int) -> None:
    ends = Ends()
    ends.poke("head", head)
    assert ends.consumer.read() is None
    assert ends.consumer.fault == "cursor_unaligned"


@pytest.mark.parametrize("head", [64, 0, -64, -(1 << 62)])
def test_a_cursor_that_goes_back(head: int) -> None:
    ends = Ends()
    good(ends)
    ends.poke("head", head)
    assert ends.consumer.read() is None
    assert ends.consumer.fault == "cursor_back"


@pytest.mark.parametrize("head", [ring.RING_SIZE + 64, 1 << 40, (1 << 63) - 64])
def test_a_cursor_beyond_the_ring(head: int) -> None:
    ends = Ends()
    ends.poke("head", head)
    assert ends.consumer.read() is None
    assert ends.consumer.fault == "cursor_ahead"


@pytest.mark.parametrize(
    ("length", "fault"),
    [
        (0, "record_short"),
        (ring.PAYLOAD_MIN - 1, "record_short"),
        (ring.PAYLOAD_MAX + 1, "record_long"),
        (0xFFFFFFFF, "record_long"),
        (1000, "record_beyond"),
        (ring.PAYLOAD_MAX, "record_beyond"),
    ],
)
def test_a_length_that_cannot_be(length: int, fault: str) -> None:
    ends = Ends()
    ends.record(0, length)
    ends.poke("head", 128)
    assert ends.consumer.read() is None
    assert ends.consumer.fault == fault


def test_an_unknown_kind() -> None:
    ends = Ends()
    ends.record(0, 100, kind=7)
    ends.poke("head", 128)
    assert ends.consumer.read() is None
    assert ends.consumer.fault == "record_kind"


@pytest.mark.parametrize(
    ("tail", "fault"), [(64 * 1000, "cursor_ahead"), (-64, "cursor_back"), (3, "cursor_unaligned")]
)
def test_a_consumer_that_lies_about_what_it_has_read(tail: int, fault: str) -> None:
    ends = Ends()
    while ends.producer.write(bytes(30000)):
        pass
    used = ring.RING_SIZE - ends.producer.room
    ends.poke("tail", used + tail if fault == "cursor_ahead" else tail)
    assert not ends.producer.write(bytes(60000))
    assert ends.producer.fault == fault
    assert ends.producer.room == 0


def test_a_fault_is_for_good() -> None:
    ends = Ends()
    ends.poke("head", 1)
    assert ends.consumer.read() is None
    ends.record(0, 100)
    ends.poke("head", 128)
    assert ends.consumer.read() is None
    assert ends.consumer.ready() == 0


def test_a_header_that_changes_while_it_is_used() -> None:
    """The length is taken once: changing it behind the check changes nothing of what is read or consumed."""
    ends = Ends()
    ends.record(0, 100)
    ends.record(128, 100)
    ends.poke("head", 256)
    first = ends.consumer.read()
    ends.record(0, 0xFFFFFFFF)
    second = ends.consumer.read()
    assert first is not None and len(first[2]) == 100
    assert second is not None and len(second[2]) == 100
    assert ends.consumer.fault == "none"


writes = st.lists(
    st.tuples(st.integers(0, ring.RING_SIZE // 8 - 2), st.integers(0, (1 << 64) - 1)), max_size=30
)
heads = st.lists(st.integers(0, 1 << 64).map(lambda n: n & ~63), max_size=10) | st.lists(
    st.integers(0, 4000).map(lambda n: n * 64), max_size=30
)


@settings(max_examples=200)
@given(writes, heads)
def test_noise_never_reads_beyond_the_region(noise: list[tuple[int, int]], cursors: list[int]) -> None:
    """Under the sanitizers a read beyond the mapping would end the test run."""
    ends = Ends()
    for position, value in noise:
        struct.pack_into("<Q", memoryview(ends.liar), ring.RING_OFFSET + 8 * position, value)
    take: Callable[[], object] = ends.consumer.read
    for head in cursors:
        ends.poke("head", head)
        while take() is not None:
            pass
