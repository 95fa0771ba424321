"""Hostile rings and frames, made and judged in C: an input is no more than a seed for a hundred thousand of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.fuzz.target import Target, Try
from vnicd.native.testing import fuzz

AT_ONCE = 100_000


def _target(about: str, show: Callable[[int, int], object]) -> Target:
    def attempt(data: bytes) -> int:
        show(int.from_bytes(data[:8], "little"), AT_ONCE)
        return AT_ONCE

    @contextmanager
    def opened() -> Iterator[Try]:
        yield attempt

    return Target(about, opened, 8)


TARGETS = {
    "ring": _target("states of a hostile peer's ring, to the reader and the writer", fuzz.ring_states),
    "frames": _target("frames to what inspects, answers and changes them", fuzz.frames),
    "guard": _target("frames to the guard of addresses and the choice of a port", fuzz.guards),
}
