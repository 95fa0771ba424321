"""What is said again and again: once in full, and then counted. Pure, but for the clock."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

FIRST_WINDOW_S = 60.0
"""Seconds in which a message that comes again is only counted; they double as long as it goes on."""

LAST_WINDOW_S = 3600.0

MOST_REMEMBERED = 256
"""Messages that are remembered; of one more, the one that was said first is forgotten."""

K = TypeVar("K", bound=Hashable)


@dataclass
class _Said:
    ends: float
    window: float
    again: int = 0


class Repeats(Generic[K]):
    """Remembers messages by a key of theirs, each for a window of time that begins when it is said."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.said: OrderedDict[K, _Said] = OrderedDict()

    def is_new(self, key: K) -> bool:
        """Whether a message is to be said; else it is counted."""
        about = self.said.get(key)
        if about is not None:
            about.again += 1
            return False
        self.said[key] = _Said(self.clock() + FIRST_WINDOW_S, FIRST_WINDOW_S)
        return True

    def counted(self, everything: bool = False) -> Iterator[tuple[K, str]]:
        """Messages that have come again in a window that is over, each with words about that, which are to be said.

        One that has not come again is new the next time. With `everything` no window is waited for, as at the end.
        """
        now = self.clock()
        for key, about in list(self.said.items()):
            is_one_too_many = len(self.said) > MOST_REMEMBERED
            if now < about.ends and not everything and not is_one_too_many:
                continue
            if about.again:
                yield (
                    key,
                    f"({_times(about.again)} in the last {about.window - max(0.0, about.ends - now):.0f} s)",
                )
            if about.again and not everything and not is_one_too_many:
                window = min(2 * about.window, LAST_WINDOW_S)
                self.said[key] = _Said(now + window, window)
            else:
                del self.said[key]


def _times(number: int) -> str:
    return "once more" if number == 1 else f"{number} more times"
