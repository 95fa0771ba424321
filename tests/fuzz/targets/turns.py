"""An event loop, a turn at a time: so inputs are shown one after the other, without a wait."""

from __future__ import annotations

import asyncio


def turn(loop: asyncio.AbstractEventLoop, times: int = 1) -> None:
    """Have the loop do what it can do now."""
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()
