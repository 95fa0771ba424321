"""What vnicctl prints: one JSON document, lines of a template, names, or plain aligned columns.

A command that reads is decorated with `output_options` (vnicd/cli/params.py), which tells what was asked for, and ends
in emit(). Only its tables are its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import Any, TextIO

import click

from vnicd.cli.printing import layout
from vnicd.cli.printing.template import Template
from vnicd.errors import printable

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
    "skip": "yellow",
    "failed": "red",
    "stopped": "red",
    "fail": "red",
    "no-carrier": "yellow",
    "down": "red",
    "absent": "red",
}
"""Colours of the words that tell a state; on a terminal only."""

GAP = layout.GAP
"""Spaces between columns."""

META = "vnicd.cli.output"
"""Where the context of a command holds its Form."""


@dataclass
class Form:
    """What a command is asked to print: neither of these is its tables."""

    as_json: bool = False
    template: Template | None = None
    is_printed: bool = False
    """Whether it has printed its JSON document."""


def form() -> Form:
    """That of the command that runs."""
    context = click.get_current_context(silent=True)
    found = context.meta.get(META) if context is not None else None
    return found if isinstance(found, Form) else Form()


def emit(data: Any, as_json: bool, show: Callable[[Any], None], rows: Any = None) -> None:
    """Prints `data`: as it is, by way of `show`, or a line of the template for each of its rows.

    `rows` are these rows, or the key of the list that they are. Without it they are what a document with a single key
    holds, or else the document is the only one.
    """
    asked = form()
    if as_json or asked.as_json:
        print_json(data)
        asked.is_printed = True
    elif asked.template is not None:
        try:
            lines = list(asked.template.lines(_rows(data, rows)))
        except ValueError as error:
            raise click.UsageError(f"--format: {error}", click.get_current_context()) from error
        for line in lines:
            click.echo(line)
    else:
        show(data)


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))


def _rows(data: Any, rows: Any) -> list[Any]:
    if isinstance(rows, str):
        rows = data[rows]
    elif rows is None:
        rows = next(iter(data.values())) if isinstance(data, dict) and len(data) == 1 else data
    return rows if isinstance(rows, list) else [] if rows is None else [rows]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """Prints rows below a header; the columns named in `right` hold numbers.

    On a terminal that is too narrow the last column wraps, and columns that have no room stand below their row: what
    varies in length, and what matters least, belongs at the end.
    """
    _print(layout.table(headers, _printable(rows), right, terminal_width(), _paint, _bold))


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows that need no header."""
    _print(layout.columns(_printable(rows), terminal_width(), _paint))


def note(text: str) -> None:
    """A remark for a person who looks at it; a pipe does not get it."""
    if sys.stdout.isatty():
        click.echo(click.style(text, dim=True))


def say(text: str, indent: str = "  ") -> None:
    """Prints a line; on a terminal it is broken at blanks."""
    click.echo(layout.fold(text, terminal_width(), indent))


def warn(text: str) -> None:
    """Says on standard error what a user should know of a thing that is done."""
    click.echo(for_errors(f"warning: {text}"), err=True)


def for_errors(text: str) -> str:
    """A line for standard error, which is broken at blanks if that is a terminal."""
    return layout.fold(text, terminal_width(sys.stderr))


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal that is printed to, or `stream` is; a pipe has no width."""
    stream = stream or sys.stdout
    if stream is None or not stream.isatty():
        return None
    try:
        fallback = os.get_terminal_size(stream.fileno())
    except OSError:
        return get_terminal_size().columns
    return get_terminal_size(fallback).columns or 80


def colour() -> bool | None:
    """Whether the environment wants colours; None when only a terminal is to have them."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    if os.environ.get("CLICOLOR") == "0" or os.environ.get("TERM") == "dumb":
        return False
    return None


def _printable(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[printable(cell) for cell in row] for row in rows]


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _paint(cell: str) -> str:
    return click.style(cell, fg=_STYLES[cell]) if cell in _STYLES else cell


def _bold(cell: str) -> str:
    return click.style(cell, bold=True)
