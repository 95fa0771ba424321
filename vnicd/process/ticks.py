"""When the hosting daemon looks for what nobody tells it about: always at the same moments.

An idle daemon pays for its wake-ups, not for what it does then: a wake-up of the event loop after a second of sleep
finds cold caches and costs milliseconds on a small machine. So all that looks from time to time does so together.
"""

from __future__ import annotations

import asyncio
import math

TICK_S = 2.0
"""Seconds between two looks."""


def next_tick(period: float = TICK_S) -> float:
    """The next moment to look, by the clock of the event loop; `period` is TICK_S or a part of it."""
    return (math.floor(asyncio.get_running_loop().time() / period) + 1) * period


def until_tick() -> float:
    """Seconds until then."""
    return next_tick() - asyncio.get_running_loop().time()
