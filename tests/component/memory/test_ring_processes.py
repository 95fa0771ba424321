"""The ring under two real processes at full speed: nothing is lost, changed or out of order."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import traceback
from collections.abc import Callable

import pytest

from vnicd.native import memory
from vnicd.native.testing import ring

SEEDS = [1, 2]
RECORDS = 60_000


def records(seed: int) -> list[int]:
    """Lengths: mostly small, some super-frames."""
    chooser = random.Random(seed)
    return [
        chooser.randint(40000, ring.PAYLOAD_MAX)
        if chooser.random() < 0.01
        else chooser.randint(ring.PAYLOAD_MIN, 1600)
        for _ in range(RECORDS)
    ]


def content(number: int, length: int) -> bytes:
    return (number.to_bytes(8, "little") * (length // 8 + 1))[:length]


def produce(own: memory.Region, peer: memory.Region, seed: int) -> None:
    producer = ring.Producer(own, peer)
    for number, length in enumerate(records(seed)):
        data = content(number, length)
        while not producer.write(data):
            assert producer.fault == "none"
            os.sched_yield()
        producer.publish()


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked child; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


@pytest.mark.parametrize("seed", SEEDS)
def test_two_processes_at_full_speed(seed: int) -> None:
    a, b = memory.create_link(1, 2, 5, False), memory.create_link(2, 1, 5, False)
    view_a = memory.open_shared(os.dup(a.fd), memory.LINK_SIZE)
    view_b = memory.open_shared(os.dup(b.fd), memory.LINK_SIZE)
    pid = in_child(lambda: produce(a, view_b, seed))
    consumer = ring.Consumer(b, view_a)
    got, expected = hashlib.blake2b(), hashlib.blake2b()
    for number, length in enumerate(records(seed)):
        while (record := consumer.read()) is None:
            assert consumer.fault == "none"
            os.sched_yield()
        consumer.publish()
        assert len(record[2]) == length, f"record {number}"
        got.update(record[2])
        expected.update(content(number, length))
    assert got.digest() == expected.digest()
    assert consumer.ready() == 0
    _, status = os.waitpid(pid, 0)
    assert status == 0
