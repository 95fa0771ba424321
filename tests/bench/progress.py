"""Shows where a run is: a bar on a terminal, else one line for each measurement."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich import progress as rich_progress
from rich.console import Console


class Progress:
    """Counts measurements; `begin` and `end` stand around each."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self._live = rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.BarColumn(bar_width=24),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task("", total=total)
        self._label = ""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """What happens between measurements."""
        if self.console.is_terminal:
            self._live.update(self._task, description=text)
        else:
            self.console.print(text, markup=False, soft_wrap=True)

    def begin(self, label: str) -> None:
        self._label = label
        self._live.update(self._task, description=label)

    def end(self, outcome: str) -> None:
        self._live.advance(self._task)
        self.console.print(f"{self._label}: {outcome}", markup=False, highlight=False, soft_wrap=True)
