"""Takes down the fabric that the environment names, and what is left of dead daemons."""

from __future__ import annotations

import contextlib
import os
import select

from vnicd.cli import process
from vnicd.cli.client import call
from vnicd.cli.spinner import Spinner
from vnicd.config import Paths
from vnicd.errors import NotPermitted, NotRunning, TimedOut, VnicdError

DOWN_TIMEOUT = 60.0
"""Seconds for 64 partitions on a busy machine."""
LOOK_EVERY_MS = 100


def take_down() -> dict[str, list[int]]:
    """Take down the fabric that the environment names; the processes left in namespaces, by partition.

    NotRunning when there is nothing of it.
    """
    paths = Paths.from_environment()
    running: dict[str, list[int]] = {}
    try:
        pid = call("fabric.ping")["pid"]
    except (NotPermitted, TimedOut):
        raise
    except VnicdError:  # there is none, or it can't run
        is_nothing = not paths.state.exists() and not paths.control.exists()
        if is_nothing and not process.findings("orphans"):
            raise NotRunning(f"there is no fabric at {paths.root}, and nothing to take down") from None
        _tear_down()
    else:
        running = _stop(pid)
        # A host that died over it left something.
        if paths.control.exists():
            _tear_down()
    # To a host that is a service its runtime directory is a mount, and can't be removed.
    with contextlib.suppress(OSError):
        paths.root.rmdir()
    return running


def _stop(pid: int) -> dict[str, list[int]]:
    """End the hosting daemon and its fabric; the processes that it leaves in namespaces, as far as it could tell."""
    running: dict[str, list[int]] = {}
    try:
        process_fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return running
    try:
        # A host may end before its answer is out.
        with contextlib.suppress(NotRunning):
            running = call("fabric.down", timeout=DOWN_TIMEOUT).get("running", {})
        _await_end(process_fd, pid)
    finally:
        os.close(process_fd)
    return running


def _await_end(process_fd: int, pid: int) -> None:
    waiting = select.poll()
    waiting.register(process_fd, select.POLLIN)
    with Spinner() as spinner:
        for _ in range(int(DOWN_TIMEOUT * 1000) // LOOK_EVERY_MS):
            if waiting.poll(LOOK_EVERY_MS):
                return
            spinner.say("Waiting for the hosting daemon to end")
    raise TimedOut(f"the hosting daemon, pid {pid}, does not end", f"kill -9 {pid}, then: vnicctl down")


def _tear_down() -> None:
    if os.geteuid() != 0:
        raise NotPermitted("only root can stop a fabric", "for example: sudo vnicctl down")
    done = process.run(process.command("teardown"))
    if done.returncode != 0:
        raise process.failure("vnicd teardown", done.returncode, done.stderr)
