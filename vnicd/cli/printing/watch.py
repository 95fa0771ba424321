"""--watch: a command that shows something is repeated until Ctrl-C, in place on a terminal."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from shutil import get_terminal_size

import click

from vnicd.cli import output
from vnicd.cli.errors import document, line_and_code
from vnicd.cli.printing.layout import size
from vnicd.errors import NotRunning, Resources, TimedOut

HOME, REST_OF_LINE, REST_OF_SCREEN, CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"

PASSING = (NotRunning, TimedOut, Resources)
"""Errors that may be over the next time, as while the hosting daemon is restarted."""


class _Screen(io.StringIO):
    """Takes what is for the terminal."""

    def isatty(self) -> bool:
        return True


def repeat(show: Callable[[], None], every: float) -> None:
    """Show something every so many seconds. An error ends it the first time; later it is shown, if it may be over."""
    is_terminal = sys.stdout.isatty()
    draw = _redraw if is_terminal else _append
    is_first = True
    try:
        while True:
            draw(show, is_first)
            is_first = False
            time.sleep(every)
    except KeyboardInterrupt:  # so it is meant to end
        if is_terminal:
            click.echo()  # or the prompt would stand behind the ^C


def _append(show: Callable[[], None], is_first: bool) -> None:
    try:
        show()
    except PASSING as error:
        if is_first:
            raise
        if output.form().as_json:
            output.print_json(document(error))
        click.echo(f"vnicctl: {error.line()}", err=True)
    sys.stdout.flush()


def _redraw(show: Callable[[], None], is_first: bool) -> None:
    text = _Screen()
    try:
        with redirect_stdout(text):
            show()
    except PASSING as error:
        if is_first:
            raise
        text = _Screen()
        text.write(f"vnicctl: {line_and_code(error)[0]}\n")
    lines = text.getvalue().splitlines()
    terminal = get_terminal_size()
    shown = fitting(lines, terminal.columns, terminal.lines - 1)
    if len(shown) < len(lines):
        shown = fitting(lines, terminal.columns, terminal.lines - 2)
        shown.append(f"... and {len(lines) - len(shown)} lines more: the terminal is too small for them")
    body = "".join(f"{line}{REST_OF_LINE}\n" for line in shown)
    sys.stdout.write(f"{CLEAR if is_first else ''}{HOME}{body}{REST_OF_SCREEN}")
    sys.stdout.flush()


def fitting(lines: list[str], width: int, height: int) -> list[str]:
    """As many lines, from the first on, as a terminal has room for."""
    shown: list[str] = []
    used = 0
    for line in lines:
        used += max(1, -(-size(click.unstyle(line)) // max(width, 1)))
        if used > height:
            break
        shown.append(line)
    return shown
