"""A spinner for what takes longer than a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

SHOW_AFTER_S = 1.0
"""Seconds without a spinner."""


class Spinner:
    """Call `say` again and again while waiting."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Spinner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._since > SHOW_AFTER_S and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False, markup=False).status(text)
            self._status.start()
