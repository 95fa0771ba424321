"""A ring between two views: order, content, wrapping, room, and the wake-up protocol."""

from __future__ import annotations

import os
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from vnicd.native import memory
from vnicd.native.testing import ring


class Ends:
    """Both ends of one ring in one process."""

    def __init__(self) -> None:
        a, b = memory.create_link(1, 2, 5, False), memory.create_link(2, 1, 5, False)
        view_a = memory.open_shared(os.dup(a.fd), memory.LINK_SIZE)
        view_b = memory.open_shared(os.dup(b.fd), memory.LINK_SIZE)
        self.producer = ring.Producer(a, view_b)
        self.consumer = ring.Consumer(b, view_a)


def payload(seed: int, length: int) -> bytes:
    return (seed.to_bytes(8, "little") * (length // 8 + 1))[:length]


lengths = st.one_of(
    st.integers(ring.PAYLOAD_MIN, 200),
    st.integers(ring.PAYLOAD_MIN, 2000),
    st.integers(60000, ring.PAYLOAD_MAX),
    st.just(ring.PAYLOAD_MAX),
)
steps = st.lists(
    st.one_of(st.tuples(st.just("write"), lengths), st.tuples(st.just("read"), st.integers(1, 40))),
    max_size=200,
)


@settings(max_examples=150)
@given(steps)
def test_any_sequence_of_writes_and_reads_keeps_order_and_content(sequence: list[tuple[str, int]]) -> None:
    ends = Ends()
    expected: deque[bytes] = deque()
    written = 0
    for what, n in sequence:
        if what == "write":
            data = payload(written, n)
            if ends.producer.write(data):
                ends.producer.publish()
                expected.append(data)
                written += 1
            else:
                assert ends.producer.room < n + ring.RECORD_HEADER + 64
        else:
            for _ in range(n):
                got = ends.consumer.read()
                if got is None:
                    assert not expected
                    break
                assert got == (ring.FRAME, 1, expected.popleft())
            ends.consumer.publish()
    while (got := ends.consumer.read()) is not None:
        assert got[2] == expected.popleft()
    assert not expected
    assert ends.producer.fault == ends.consumer.fault == "none"


def test_nothing_is_seen_before_it_is_published() -> None:
    ends = Ends()
    assert ends.producer.write(payload(1, 100))
    assert ends.consumer.read() is None
    ends.producer.publish()
    assert ends.consumer.read() is not None


def test_room_comes_back_only_with_the_cursor() -> None:
    ends = Ends()
    while ends.producer.write(payload(0, 30000)):
        pass
    ends.producer.publish()
    full = ends.producer.room
    assert ends.consumer.read() is not None
    assert ends.producer.room == full
    ends.consumer.publish()
    assert ends.producer.room > full


def test_kinds_and_sources_arrive() -> None:
    ends = Ends()
    ends.producer.write(payload(1, 24), kind=ring.MARK, source=9, link_id=4)
    ends.producer.publish()
    assert ends.consumer.read() == (ring.MARK, 9, payload(1, 24))


def test_the_producer_rings_once_for_a_sleeping_consumer() -> None:
    ends = Ends()
    assert not ends.consumer.arm()
    rings = []
    for n in range(3):
        ends.producer.write(payload(n, 100))
        rings.append(ends.producer.publish())
    assert rings == [True, False, False]


def test_a_consumer_with_work_must_not_sleep() -> None:
    ends = Ends()
    ends.producer.write(payload(0, 100))
    ends.producer.publish()
    assert ends.consumer.arm()


def test_the_consumer_rings_when_a_waiting_producer_has_room() -> None:
    ends = Ends()
    while ends.producer.write(payload(0, 30000)):
        pass
    ends.producer.publish()
    ends.producer.arm()
    rings = 0
    while ends.consumer.read() is not None:
        rings += ends.consumer.publish()
    assert rings == 1
