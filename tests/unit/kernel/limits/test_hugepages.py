"""The claim on the hugepage limit: several fabrics share it, and the last one out puts it back."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from tests.framework.descriptors import open_fds
from vnicd.kernel.limits.hugepages import Overcommit
from vnicd.native.memory import HUGE_PAGE

MOST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // HUGE_PAGE // 2


def value(limit: Path) -> int:
    return int(limit.read_text())


def test_one_fabric_raises_the_limit_and_puts_it_back(
    claim: Callable[[], Overcommit], limit: Path, ledger: Path
) -> None:
    before = open_fds()
    fabric = claim()
    fabric.acquire()
    assert value(limit) == MOST
    fabric.release()
    assert value(limit) == 3
    assert not ledger.exists()
    assert open_fds() == before
    fabric.release()
    fabric.acquire()
    assert value(limit) == MOST
    fabric.release()
    assert value(limit) == 3


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_last_one_out_puts_it_back(
    claim: Callable[[], Overcommit], limit: Path, ledger: Path, order: tuple[int, ...]
) -> None:
    fabrics = [claim() for _ in range(3)]
    for fabric in fabrics:
        fabric.acquire()
    for number, index in enumerate(order):
        assert value(limit) == MOST, f"{number} of 3 are gone"
        fabrics[index].release()
    assert value(limit) == 3
    assert not ledger.exists()


def test_a_limit_that_is_high_enough_is_left_alone(
    claim: Callable[[], Overcommit], limit: Path, ledger: Path
) -> None:
    limit.write_text(str(MOST + 5))
    fabric = claim()
    fabric.acquire()
    assert value(limit) == MOST + 5
    limit.write_text("11")
    fabric.release()
    assert value(limit) == 11, "what somebody else has set meanwhile stays"
    assert not ledger.exists()


def test_a_kernel_without_hugepages(claim: Callable[[], Overcommit], limit: Path, ledger: Path) -> None:
    limit.unlink()
    fabric = claim()
    fabric.acquire()
    fabric.release()
    assert not limit.exists()
    assert not ledger.exists()


def test_a_fabric_that_has_claimed_nothing_changes_nothing(
    claim: Callable[[], Overcommit], limit: Path
) -> None:
    claim().release()
    assert value(limit) == 3
    user = claim()
    user.acquire()
    claim().release()
    assert value(limit) == MOST, "another fabric runs"
    user.release()
    assert value(limit) == 3


def test_a_limit_lowered_before_the_second_fabric_came_is_put_back(
    claim: Callable[[], Overcommit], limit: Path
) -> None:
    """The first had nothing to raise and so noted nothing; the second raises it, and must note what was there."""
    first, second = claim(), claim()
    limit.write_text(str(MOST))
    first.acquire()
    limit.write_text("5")
    second.acquire()
    assert value(limit) == MOST
    second.release()
    first.release()
    assert value(limit) == 5
