"""Limits of the machine that are raised while a fabric runs, and put back after the last one.

A limit belongs to the machine, and several fabrics may run on it. So its old value is kept in a file, the
ledger, that every hosting daemon holds a shared lock on; the last one out puts the value back and removes the
file. A hosting daemon that is killed leaves the ledger; the next one's end makes up for it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class SharedLimit:
    """This fabric's claim on the limit in the file `limit`, which is to be at least `least`."""

    def __init__(self, limit: Path, ledger: Path, least: int) -> None:
        self.limit = limit
        self.ledger = ledger
        self.least = least
        self.fd = -1

    def acquire(self) -> None:
        """Raise the limit, unless it is as high already or does not exist; OSError when it can't be written."""
        if not self.limit.exists():
            return
        self.fd = open_ledger(self.ledger)
        fcntl.lockf(self.fd, fcntl.LOCK_EX)  # one at a time reads and raises the limit
        before = int(self.limit.read_text())
        if before < self.least:
            if os.fstat(self.fd).st_size == 0:
                os.pwrite(self.fd, str(before).encode(), 0)
            self.limit.write_text(str(self.least))
        fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def release(self) -> None:
        """Put the limit back if no other fabric runs."""
        if not self.ledger.exists() and self.fd < 0:
            return
        if self.fd < 0:
            self.fd = os.open(self.ledger, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            before = os.pread(self.fd, 32, 0).decode()
            if before and self.limit.read_text().strip() != before:  # it may have been refused to us
                self.limit.write_text(before)
            self.ledger.unlink(missing_ok=True)
        os.close(self.fd)
        self.fd = -1


def open_ledger(path: Path) -> int:
    """A descriptor of a ledger, held shared; the file is made if it is not there."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH)
        try:
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except FileNotFoundError:
            pass  # the last one out removed it while we waited
        os.close(fd)
