"""Warnings about partition daemons. One may be hostile, so neither their number nor their length is its to choose."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

EVERY_S = 5.0
"""Seconds between two warnings about the same port; what comes meanwhile is counted."""

NOBODY = -1
"""Stands for a port in warnings about processes that are no partition's daemon."""

MOST_TEXT = 80
"""Characters of a text that a partition daemon has sent."""


def quoted(text: object) -> str:
    """A text of a partition daemon's for the log: in one line, and short."""
    return repr(str(text)[: MOST_TEXT + 1])[: MOST_TEXT + 2]


@dataclass
class _About:
    next_at: float = 0.0
    unsaid: int = 0


class Complaints:
    """`log` takes what is to be said; ports are few, so what is remembered of them is, too."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self.log = log
        self.clock = clock
        self.about: dict[int, _About] = {}

    def warn(self, port: int, text: str, *words: object) -> None:
        """Warn of a port, if that was not done just now."""
        about = self.about.setdefault(port, _About())
        if self.clock() < about.next_at:
            about.unsaid += 1
            return
        more = f" ({about.unsaid} more such warnings before)" if about.unsaid else ""
        self.log.warning(text + more, *words)
        about.next_at, about.unsaid = self.clock() + EVERY_S, 0
