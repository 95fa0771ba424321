"""The two printers of vnicctl: one JSON document, or plain aligned columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {
    "up": "green",
    "ok": "green",
    "direct": "green",
    "starting": "yellow",
    "making": "yellow",
    "closing": "yellow",
    "offered": "yellow",
    "reset": "red",
    "warn": "yellow",
    "failed": "red",
    "fail": "red",
    "no-carrier": "yellow",
    "down": "red",
    "absent": "red",
}
"""Colours of the words that tell a state; on a terminal only."""

GAP = 2
"""Spaces between columns."""

_MANY = 10_000
"""A width in characters that no table reaches."""


def emit(data: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Prints `data`: as it is, or by way of `show`."""
    if as_json:
        click.echo(json.dumps(data, indent=2))
    else:
        show(data)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """Prints rows below a header; the columns named in `right` hold numbers.

    On a terminal the last column wraps, so the one whose length varies belongs there.
    """
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index, header in enumerate(headers):
        last = index == len(headers) - 1
        widest = max(len(header), *(len(row[index]) for row in rows)) if rows else len(header)
        grid.add_column(
            header,
            justify="right" if header in right else "left",
            no_wrap=not last,
            min_width=None
            if last
            else widest,  # or rich would crop a header of several words, and drop columns
            overflow="fold",
        )
    _print(grid, rows)


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows that need no header."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
    for index in range(len(rows[0]) if rows else 0):
        grid.add_column(no_wrap=index < len(rows[0]) - 1, overflow="fold")
    _print(grid, rows)


def _print(grid: Table, rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.measure import Measurement
    from rich.text import Text

    for row in rows:
        grid.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console = Console(highlight=False)
    need = Measurement.get(console, console.options.update_width(_MANY), grid)
    # A pipe has no width. A terminal that is too narrow even so wraps by itself, which loses nothing.
    fits = console.is_terminal and console.width >= need.minimum
    console.width = min(console.width, need.maximum) if fits else need.maximum
    with console.capture() as text:
        console.print(grid)
    for line in text.get().splitlines():
        click.echo(line.rstrip())


def note(text: str) -> None:
    """A remark for a person who looks at it; a pipe does not get it."""
    if sys.stdout.isatty():
        click.echo(click.style(text, dim=True))
