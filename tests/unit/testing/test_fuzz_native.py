"""States of a ring, frames and guards by chance, judged in C; see `python -m tests.fuzz --help`."""

from __future__ import annotations

import pytest

from vnicd.native.testing import fuzz

COUNT = 300_000


@pytest.mark.parametrize("seed", range(3))
def test_ring_states(seed: int) -> None:
    found = fuzz.ring_states(seed, COUNT)
    assert found["records"] > COUNT / 10 and found["faults"] > COUNT / 10, "both are met"


@pytest.mark.parametrize("seed", range(3))
def test_frames(seed: int) -> None:
    assert fuzz.frames(seed, COUNT) > COUNT / 5, "many are known"


@pytest.mark.parametrize("seed", range(3))
def test_the_guard(seed: int) -> None:
    assert COUNT / 10 < fuzz.guards(seed, COUNT) < COUNT / 2, "some may go, others not"
