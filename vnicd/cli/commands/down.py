"""vnicctl down: stops the hosting daemon and all partitions, and takes away what is left of dead ones."""

from __future__ import annotations

import contextlib
import os
import select

import click

from vnicd.cli import process
from vnicd.cli.client import call
from vnicd.cli.spinner import Spinner
from vnicd.config import Paths
from vnicd.errors import NotPermitted, NotRunning, TimedOut, VnicdError

DOWN_TIMEOUT = 60.0
"""Seconds for 64 partitions on a busy machine."""
LOOK_EVERY_MS = 100


@click.command()
def down() -> None:
    """Stop the fabric, and remove all that it made.

    All partitions go, with the namespaces that vnicd made for them; attached ones
    stay. It also cleans up after daemons that were killed, also if the files of the
    fabric were deleted after that.
    """
    paths = Paths.from_environment()
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
        _stop(pid)
        # A host that died over it left something.
        if paths.control.exists():
            _tear_down()
    # To a host that is a service its runtime directory is a mount, and can't be removed.
    with contextlib.suppress(OSError):
        paths.root.rmdir()
    click.echo("vnicd is down")


def _stop(pid: int) -> None:
    try:
        process_fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # A host may end before its answer is out.
        with contextlib.suppress(NotRunning):
            call("fabric.down", timeout=DOWN_TIMEOUT)
        _await_end(process_fd, pid)
    finally:
        os.close(process_fd)


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
