"""Hugepages on demand: raises the kernel's overcommit limit while a fabric runs, and puts it back.

The limit belongs to the machine, and several fabrics may run on it. So its old value is kept in a file that
every hosting daemon holds a shared lock on; the last one out puts the value back and removes the file.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vnicd.memory import HUGE_PAGE

OVERCOMMIT = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages")
LEDGER = Path("/run/vnicd-hugepages.lock")


class Overcommit:
    """This fabric's claim on the raised limit."""

    def __init__(self, limit: Path = OVERCOMMIT, ledger: Path = LEDGER) -> None:
        self.limit = limit
        self.ledger = ledger
        self.fd = -1

    def acquire(self) -> None:
        """Raise the limit to half of the machine's memory, unless it is as high already or does not exist."""
        if not self.limit.exists():
            return
        self._open()
        fcntl.lockf(self.fd, fcntl.LOCK_EX)  # one at a time reads and raises the limit
        before = int(self.limit.read_text())
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // HUGE_PAGE // 2
        if before < most:
            if os.fstat(self.fd).st_size == 0:
                os.pwrite(self.fd, str(before).encode(), 0)
            self.limit.write_text(str(most))
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
            before = os.pread(self.fd, 32, 0)
            if before:
                self.limit.write_text(before.decode())
            self.ledger.unlink(missing_ok=True)
        os.close(self.fd)
        self.fd = -1

    def _open(self) -> None:
        """Open the ledger and hold it shared."""
        while True:
            self.fd = os.open(self.ledger, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.fd, fcntl.LOCK_SH)
            try:
                if os.fstat(self.fd).st_ino == self.ledger.stat().st_ino:
                    return
            except FileNotFoundError:
                pass  # the last one out removed it while we waited
            os.close(self.fd)
