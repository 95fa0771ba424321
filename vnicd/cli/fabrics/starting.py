"""Starts the hosting daemon of a fabric, and waits until it is ready."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from vnicd.cli import process
from vnicd.cli.client import call
from vnicd.cli.spinner import Spinner
from vnicd.config import LOG_ASIDE, Paths
from vnicd.errors import AlreadyRunning, Invalid, NotRunning, TimedOut

READY_TIMEOUT = 60.0
"""Seconds until the host and every partition that it finds again must be ready."""
PING_TIMEOUT = 2.0
STOP_TIMEOUT = 5.0
"""Seconds that a host which did not become ready has to end."""
LOOK_EVERY = 0.02

WHAT = "the hosting daemon"


def start_fabric(options: Sequence[str]) -> int:
    """Start the hosting daemon of the fabric that the environment names, with these options; its pid once it is ready.

    AlreadyRunning when there is one.
    """
    paths = Paths.from_environment()
    _refuse_second(paths)
    with _log(paths) as log, Spinner() as spinner:
        return _start(process.command("host", *options), log, spinner)


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
