"""What a target is, and how it is shown inputs: random ones from a seed, those of a corpus, or one again."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

Try = Callable[[bytes], int]
"""Shows one input and returns how many messages, frames or states that were; an exception is a finding."""


@dataclass(frozen=True)
class Target:
    about: str
    open: Callable[[], AbstractContextManager[Try]]
    longest: int
    """Bytes of an input."""
    needs_root: bool = False


@dataclass(frozen=True)
class Finding:
    data: bytes
    error: str

    def lines(self) -> str:
        return f"{self.error}\ninput: {self.data.hex()}"


Progress = Callable[[int], None]
"""Told from time to time how much was done."""


def search(
    target: Target, seed: int, count: int, seconds: float, progress: Progress
) -> tuple[int, Finding | None]:
    """Random inputs until `count` messages, or for `seconds`; how many there were, and what was found."""
    chance = random.Random(seed)
    done, end, told = 0, time.monotonic() + seconds, time.monotonic()
    with target.open() as attempt:
        while done < count and (now := time.monotonic()) < end:
            if now - told >= 1:
                progress(done)
                told = now
            data = chance.randbytes(chance.randrange(8, target.longest + 1))
            try:
                done += attempt(data)
            except Exception:
                return done, Finding(data, traceback.format_exc())
    return done, None


def again(target: Target, data: bytes) -> Finding | None:
    """One input alone."""
    with target.open() as attempt:
        try:
            attempt(data)
        except Exception:
            return Finding(data, traceback.format_exc())
    return None
