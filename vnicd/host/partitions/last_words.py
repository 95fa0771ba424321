"""Why a partition daemon has ended: how it did, and the last line that it has logged. It may be hostile."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from vnicd.errors import Resources, VnicdError
from vnicd.process import logs
from vnicd.protocol import log_line

LAST_BYTES = 4096
"""Of a log, in which its last line is looked for."""

LONGEST = 300
"""Characters of it that are told."""

HOPELESS_AFTER = 3
"""Deaths of a daemon that never came up after which it is not waited for any longer."""


def in_file(path: Path, since: int) -> str:
    """The last line of a log, if it was written behind so many bytes."""
    try:
        with os.fdopen(logs.open_file(path, os.O_RDONLY), "rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(since if since <= end else 0, end - LAST_BYTES))
            return in_text(log.read(LAST_BYTES).decode(errors="replace"))
    except OSError:
        return ""


def in_text(text: str) -> str:
    """The last line of a text that says something."""
    lines = [line for line in text.splitlines() if line.strip()]
    said = log_line.parse(lines[-1]).text if lines else ""
    return "".join(char if char.isprintable() else "?" for char in said)[:LONGEST]


def how(exit_code: int) -> str:
    """How a process has ended, by its exit code as Python has it: below zero it is a signal."""
    if exit_code >= 0:
        return f"exit status {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def together(ending: str, said: str) -> str:
    """Both in one clause, as far as they are known."""
    return ": ".join(filter(None, (ending, said)))


class Deaths:
    """Of the daemons of one partition since one of them was last up."""

    def __init__(self) -> None:
        self.number = 0
        self.words = ""
        """Why the last one has ended, as far as that is known."""
        self.are_too_many = asyncio.Event()
        self.lack = ""
        """What the hosting daemon lacks to take the present one in."""
        self.lack_kind: type[VnicdError] = Resources
        self.is_lacking = asyncio.Event()

    def add(self, words: str) -> None:
        self.number += 1
        self.words = words or self.words
        if self.number >= HOPELESS_AFTER:
            self.are_too_many.set()

    def lacks(self, words: str, kind: type[VnicdError] = Resources) -> None:
        """We can't serve its daemon, whether that lives or not; `kind` is the error for who waits for it."""
        self.lack, self.lack_kind = words, kind
        self.is_lacking.set()
