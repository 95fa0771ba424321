"""The trace of this process: what it did, in a ring that outlives it, for `vnicctl debug trace`.

There is one of a process, as there is one log. Only rare events are noted: a ring holds the last 255 of the control
thread, and as many of the loop (cext/datapath/state/trace.pxd). What is noted before there is a ring is kept, and
written with its time as soon as there is one. A process that gets none goes on without.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from vnicd.native import memory, trace
from vnicd.native.memory import Region

EARLY_MOST = 32
"""Records kept before there is a ring."""

_early: deque[tuple[str, tuple[int, ...], str, int, int]] = deque(maxlen=EARLY_MOST)
_ring: Region | None = None
_writer: trace.Writer | None = None


def note(kind: str, *values: int, text: str = "") -> None:
    """Record an event: one of trace.KINDS, with its values. From any thread, as all hold the interpreter's lock."""
    record = kind, values, text, time.monotonic_ns(), time.time_ns()
    if _writer is None:
        _early.append(record)
    else:
        _writer.put(*record)


def use(fd: int) -> None:
    """Write into the ring in this file from now on; takes the descriptor over. OSError or Refused if that can't be.

    The descriptor is closed: the mapping can't make the file larger or smaller, whoever takes this process over.
    """
    global _ring, _writer
    try:
        region = memory.map_file(os.dup(fd), trace.SIZE)
    finally:
        os.close(fd)
    region.close_fd()
    trace.begin(region)
    _ring, _writer = region, trace.Writer(region)
    while _early:
        _writer.put(*_early.popleft())


def ring() -> Region | None:
    """The ring for the loop to write into; None if there is none."""
    return _ring


def numbers(message: Mapping[str, Any], *names: str) -> list[int]:
    """The whole numbers that a message has under these names, up to the first that it has not."""
    values = [message.get(name) for name in names]
    return [value for value in takewhile(lambda value: type(value) is int, values) if value is not None]


class Handler(logging.Handler):
    """Notes what is logged as a warning or an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        note("error" if record.levelno >= logging.ERROR else "warning", text=record.getMessage())
