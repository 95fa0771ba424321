"""Who may run side by side on this machine: tests, of any session, and those that must be alone.

The locks are on files of the kernel that are always there, so none is left behind. Whoever enters passes the door
first; a test that must be alone keeps the door shut while it waits for the others to leave, so it is not passed over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.framework.fabric.machine import HUGEPAGES, OVERCOMMIT

DOOR, ROOM = HUGEPAGES / "free_hugepages", OVERCOMMIT


@contextmanager
def in_room(alone: bool) -> Iterator[None]:
    """Waits for its turn; then no test that must be alone runs, or, if this is one, no other at all."""
    with ExitStack() as inside, ExitStack() as at_door:
        at_door.enter_context(_locked(DOOR, fcntl.LOCK_EX))
        inside.enter_context(_locked(ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        if not alone:
            at_door.close()
        yield


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    # A child that inherits the descriptor would keep the lock.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)
