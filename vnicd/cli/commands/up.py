"""vnicctl up: starts the hosting daemon and waits until it is ready."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, get_args

import click

from vnicd.cli import process
from vnicd.cli.client import call
from vnicd.cli.params import one_of
from vnicd.cli.spinner import Spinner
from vnicd.config import LOG_ASIDE, NAMES, HugepageMode, LogLevel, Options, Paths, make_options, option_words
from vnicd.errors import AlreadyRunning, Invalid, NotPermitted, NotRunning, TimedOut

READY_TIMEOUT = 60.0
"""Seconds until the host and every partition that it finds again must be ready."""
PING_TIMEOUT = 2.0
STOP_TIMEOUT = 5.0
"""Seconds that a host which did not become ready has to end."""
LOOK_EVERY = 0.02

WHAT = "the hosting daemon"


@click.command()
@click.option(
    "--hugepages",
    metavar="MODE",
    shell_complete=one_of(*get_args(HugepageMode)),
    default="auto",
    show_default=True,
    help="auto, require or never.",
)
@click.option(
    "--idle-timeout",
    metavar="SECONDS",
    type=float,
    default=Options.idle_timeout,
    show_default=True,
    help="Free a direct link's memory after so long without a frame.",
)
@click.option(
    "--poll-us",
    metavar="N",
    type=int,
    default=Options.poll_us,
    show_default=True,
    help="Microseconds that an idle loop looks for work before it sleeps.",
)
@click.option(
    "--log-level",
    metavar="LEVEL",
    shell_complete=one_of(*get_args(LogLevel)),
    help="Lowest level that is logged: debug, info, warning or error.  [default: info]",
)
@click.option(
    "--names",
    metavar="MODE",
    shell_complete=one_of(*NAMES),
    default="on",
    show_default=True,
    help="Partitions find each other by name: on, local (and other names are not forwarded) or off.",
)
def up(hugepages: str, idle_timeout: float, poll_us: int, log_level: str | None, names: str) -> None:
    """Start the fabric, and return when it is ready.

    When the hosting daemon had died, it takes up the partitions that are still there.

    \b
    Examples:
      vnicctl up
      vnicctl up --hugepages require
      VNICD_RUNTIME_DIR=/run/lab vnicctl up      # a second fabric beside the first
    """
    mode = NAMES.get(names, names)
    options = make_options(hugepages, idle_timeout, poll_us, log_level or Options.log_level, mode)
    if os.geteuid() != 0:
        raise NotPermitted("only root can start a fabric", "for example: sudo vnicctl up")
    paths = Paths.from_environment()
    _refuse_second(paths)
    with _log(paths) as log, Spinner() as spinner:
        pid = _start(_host_command(options, is_level_given=log_level is not None), log, spinner)
    click.echo(f"vnicd is up: pid {pid}, {paths.root}")


def _host_command(options: Options, is_level_given: bool) -> list[str]:
    names = ["hugepages", "idle_timeout", "poll_us", "names"]
    names += ["log_level"] if is_level_given else []  # else that of the environment counts
    words = [word for name in names for word in option_words(name, getattr(options, name)).split()]
    return process.command("host", *words)


def _refuse_second(paths: Paths) -> None:
    with contextlib.suppress(NotRunning):
        try:
            pid = call("fabric.ping", timeout=PING_TIMEOUT)["pid"]
        except TimedOut as error:
            raise AlreadyRunning(
                f"a hosting daemon holds {paths.control} but does not answer", "see: vnicctl doctor"
            ) from error
        raise AlreadyRunning(f"the fabric of {paths.root} is up already, pid {pid}")


@contextlib.contextmanager
def _log(paths: Paths) -> Iterator[IO[bytes]]:
    """The host's log, with the directories that it needs; a failed start takes away what is new of them."""
    new_log = False
    try:
        for directory in (paths.root, paths.logs):
            _make_directory(directory)
        path = paths.log("host")
        if path.is_symlink() or (path.exists() and not path.is_file()):  # what is behind it is not ours
            path.replace(path.with_name(f"{path.name}{LOG_ASIDE}"))
        new_log = not path.exists()
        with open(path, "a+b", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o640)) as log:
            yield log
    except AlreadyRunning:
        # Another `up` was faster, and the files are its.
        raise
    except BaseException:
        if new_log:
            paths.log("host").unlink(missing_ok=True)
        for directory in (paths.logs, paths.root):
            # What is not empty has been there before, or is what the host could not take away.
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir()
    except FileExistsError:
        if not directory.is_dir():
            raise Invalid(f"{directory} is not a directory", "set VNICD_RUNTIME_DIR to another") from None
    except FileNotFoundError as error:
        raise Invalid(f"{directory.parent} does not exist", "make it, or set VNICD_RUNTIME_DIR") from error
    else:
        directory.chmod(0o755)


def _start(words: list[str], log: IO[bytes], spinner: Spinner) -> int:
    """Starts the host; its pid once it is ready."""
    before = log.seek(0, os.SEEK_END)
    host = process.start(words, log)
    try:
        _await_ready(host, log, before, spinner)
    except BaseException:
        _stop(host)
        raise
    return host.pid


def _await_ready(host: subprocess.Popen[bytes], log: IO[bytes], before: int, spinner: Spinner) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        exit_code = host.poll()
        if exit_code is not None:
            log.seek(before)
            raise process.failure(WHAT, exit_code, log.read().decode(errors="replace"))
        missing = WHAT
        with contextlib.suppress(NotRunning, TimedOut):
            answer = call("fabric.ping", timeout=PING_TIMEOUT)
            # Another host may answer, when two are started at once: then ours is about to give up.
            if answer["pid"] == host.pid and answer["ready"]:
                return
            missing = ", ".join(answer["starting"]) or WHAT
        spinner.say(f"Waiting for {missing}")
        time.sleep(LOOK_EVERY)
    raise TimedOut(f"{WHAT} was not ready after {READY_TIMEOUT:g} s", "see vnicctl doctor")


def _stop(host: subprocess.Popen[bytes]) -> None:
    if host.poll() is None:
        host.terminate()
    try:
        host.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        host.kill()
        host.wait()
