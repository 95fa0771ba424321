"""The highest rate that loses next to nothing: a bisection over offered rates (pure but for the trials)."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.loads.parsing import Datagrams

TOLERATED = 0.001
"""Part of the datagrams that may be missing."""

TRIES = 2
"""Trials that a rate gets: one stall of the machine must not decide a halving."""


def highest_clean_rate(trial: Callable[[float | None], Datagrams], steps: int) -> float:
    """Datagrams a second that arrived in the best trial which lost under 0.1%; 0 when each lost more.

    `trial` sends at the given rate, or as fast as it can for None, which also gives the upper end of the
    search. What arrived counts, not what was asked for: senders do not always reach the rate they are told.
    """
    fastest = trial(None)
    if fastest.lost < TOLERATED:
        return fastest.received
    best, low, high = 0.0, 0.0, fastest.sent
    for _ in range(steps):
        rate = (low + high) / 2
        clean = _clean_rate(trial, rate)
        if clean is None:
            high = rate
        else:
            low, best = rate, max(best, clean)
    return best


def _clean_rate(trial: Callable[[float | None], Datagrams], rate: float) -> float | None:
    """The rate that arrived cleanly when this one was offered."""
    for _ in range(TRIES):
        found = trial(rate)
        if found.lost < TOLERATED:
            return found.received
    return None
