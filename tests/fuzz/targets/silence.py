"""The log of vnicd while it is shown hostile input: not printed, and no traceback may be in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class Silence(logging.Handler):
    """Takes what would be logged; an error with a traceback is a finding."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.tracebacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.tracebacks.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def silenced() -> Iterator[Silence]:
    """The log of vnicd goes here."""
    log, silence = logging.getLogger("vnicd"), Silence()
    log.addHandler(silence)
    before, log.propagate = log.propagate, False
    try:
        yield silence
    finally:
        log.removeHandler(silence)
        log.propagate = before
