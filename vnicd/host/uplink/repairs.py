"""What others take away of an uplink and is put back: said, counted, and at a pace that no fight makes us spin."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

PATIENCE = 3
"""Repairs of one thing that are made at once and told each; with more of them somebody is working against us."""

LONGEST_PAUSE_S = 10.0

CALM_S = 60.0
"""Seconds without a repair of a thing after which the next one is the first again."""

MOST_ITEMS = 4
"""That are told by name."""


class Repairs:
    """`clock` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.count = 0
        self.last = ""
        """What was put back last."""
        self.rows: dict[str, tuple[int, float]] = {}
        """How often each thing was put back in a row, and when last."""
        self.unsaid = 0

    def note(self, items: Sequence[str]) -> str:
        """These were put back: the line for the log, empty if it was said already that this goes on."""
        self._forget_old()
        now = self.clock()
        for each in items:
            self.rows[each] = (self.rows.get(each, (0, now))[0] + 1, now)
        self.count += 1
        self.last = _listed(items)
        if beginning := [each for each in items if self.rows[each][0] == PATIENCE + 1]:
            pace = f"it is put back at most every {LONGEST_PAUSE_S:g} s, and not told again"
            return f"another program keeps taking away what the uplink needs ({_listed(beginning)}); {pace}"
        told = [each for each in items if self.rows[each][0] <= PATIENCE]
        if not told:
            self.unsaid += 1
            return ""
        before = f" ({self.unsaid} repairs were not told before)" if self.unsaid else ""
        self.unsaid = 0
        return (
            f"another program took away what the uplink needs, and it was put back: {_listed(told)}{before}"
        )

    @property
    def fought(self) -> str:
        """What somebody takes away again and again; empty if nothing."""
        self._forget_old()
        return _listed([each for each, (times, _) in self.rows.items() if times > PATIENCE])

    def pause(self) -> float:
        """Seconds from now in which news of changes is only gathered."""
        self._forget_old()
        ends = [
            at + min(2.0 ** (times - PATIENCE - 1), LONGEST_PAUSE_S)
            for times, at in self.rows.values()
            if times > PATIENCE
        ]
        return max(0.0, max(ends, default=0.0) - self.clock())

    def _forget_old(self) -> None:
        since = self.clock() - CALM_S
        self.rows = {each: row for each, row in self.rows.items() if row[1] > since}


def _listed(items: Sequence[str]) -> str:
    more = len(items) - MOST_ITEMS
    return ", ".join(items[:MOST_ITEMS]) + (f" and {more} more" if more > 0 else "")
