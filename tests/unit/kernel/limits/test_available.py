"""How many hugepages can be had: those of the pool, and those on demand."""

from __future__ import annotations

from pathlib import Path

import pytest

from vnicd.kernel.limits.hugepages import available

CASES = [
    ((0, 0, 0, 0), 0),
    ((5, 2, 0, 0), 3),
    ((5, 2, 10, 4), 9),
    ((0, 0, 4, 9), 0),  # the limit was lowered after they were taken
    ((1, 0, 1000, 0), 101),  # there is memory for a hundred
]


@pytest.mark.parametrize(("counts", "expected"), CASES)
def test_pages_that_can_be_had(tmp_path: Path, counts: tuple[int, ...], expected: int) -> None:
    names = ("free_hugepages", "resv_hugepages", "nr_overcommit_hugepages", "surplus_hugepages")
    for name, count in zip(names, counts, strict=True):
        (tmp_path / name).write_text(f"{count}\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  999999 kB\nMemAvailable:    206000 kB\n")
    assert available(tmp_path, meminfo) == expected


def test_of_this_machine() -> None:
    assert available() >= 0
