"""Hostile ring states and frames by chance; `python -m tests.fuzz` makes as many as one likes."""

from __future__ import annotations

import pytest

from vnicd import fuzz

COUNT = 300_000


@pytest.mark.parametrize("seed", range(3))
def test_ring_states(seed: int) -> None:
    found = fuzz.ring_states(seed, COUNT)
    assert found["records"] > COUNT / 10 and found["faults"] > COUNT / 10, "both are met"


@pytest.mark.parametrize("seed", range(3))
def test_frames(seed: int) -> None:
    assert fuzz.frames(seed, COUNT) > COUNT / 5, "many are known"
