"""vnicctl logs: what a daemon has written to its log, wherever that is."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections import deque
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, NoReturn

import click

from vnicd.cli import output, process
from vnicd.cli.params import HOST, daemon_names
from vnicd.config import Paths
from vnicd.errors import TO_READ, Invalid, NotFound, NotPermitted, Unsupported, printable

LOOK_EVERY_S = 0.2

MOST_LINES = 1_000_000_000

GONE_AFTER_S = 5.0
"""Seconds without a file after which a log that was followed is over; a new one comes at once when it is rotated."""


@click.command()
@click.argument("name", default=HOST, shell_complete=daemon_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    "--tail",
    type=click.IntRange(min=0, max=MOST_LINES),
    metavar="N",
    help="Print only the last N lines.",
)
def logs(name: str, follow: bool, lines: int | None) -> None:
    """Print the log of a daemon.

    NAME is a partition; without it, or for `host`, it is the hosting daemon. Under
    systemd this is the journal of its unit, else the files in the runtime directory.

    \b
    Examples:
      vnicctl logs
      vnicctl logs blue -n 20
      vnicctl logs -f
    """
    from vnicd.spec.partition import is_name

    if name != HOST and not is_name(name):
        raise Invalid(f"this is not the name of a partition: {name}")
    found = process.document("logs", name)
    if found["unit"]:
        _become_journalctl(found["unit"], follow, lines)
    with ExitStack() as stack:
        files = [stack.enter_context(_open(path)) for path in found["files"]]
        for line in deque(chain.from_iterable(files), maxlen=lines):
            _print(line.rstrip(b"\n"))
        if follow:
            _follow(Paths.from_environment().log(name), files[-1])


def _open(path: str | Path) -> IO[bytes]:
    """A log, and no pipe or link that may have its name: one could wait for it for ever."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except PermissionError as error:
        raise NotPermitted(f"not allowed to read {path}", TO_READ) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotFound(f"{path} is not a file")
    return file


def _become_journalctl(unit: str, follow: bool, lines: int | None) -> NoReturn:
    count = "all" if lines is None else str(lines)
    words = ["journalctl", "--quiet", "--no-pager", "--unit", unit, "--lines", count]
    try:
        os.execvp(words[0], [*words, *(["--follow"] if follow else [])])
    except OSError as error:
        raise Unsupported(f"journalctl can't be run: {error.strerror}") from error


def _follow(path: Path, file: IO[bytes]) -> None:
    """Print what is written at the end of the file, and in those that take its place."""
    rest = b""
    seen_at = time.monotonic()
    while True:
        try:
            now: os.stat_result | None = path.lstat()
        except FileNotFoundError:
            now = None
        if now is not None and not stat.S_ISREG(now.st_mode):
            now = None
        *lines, rest = (rest + file.read()).split(b"\n")
        for line in lines:
            _print(line)
        sys.stdout.flush()
        if now is None:
            if time.monotonic() - seen_at > GONE_AFTER_S:
                raise NotFound(f"the log {path} is gone")
        else:
            seen_at = time.monotonic()
            own = os.fstat(file.fileno())
            if now.st_ino != own.st_ino:
                file = _open(path)
                continue
            if own.st_size < file.tell():  # it was emptied
                file.seek(0)
        time.sleep(LOOK_EVERY_S)


def _print(line: bytes) -> None:
    """A line without control characters: the daemon that has written it may be hostile."""
    output.say(printable(line.decode(errors="replace").expandtabs()))
