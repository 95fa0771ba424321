"""Cases of a test that wait most of their time, run side by side; then each test has what came of its own case."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


def side_by_side(cases: Iterable[tuple[K, Callable[[], T]]], at_once: int = 4) -> dict[K, Future[T]]:
    """The outcomes when all have ended; `result()` of one that failed fails in the same way."""
    with ThreadPoolExecutor(at_once) as pool:
        return {key: pool.submit(work) for key, work in cases}
