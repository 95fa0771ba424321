"""Hugepages on demand: the kernel's overcommit limit, raised to half of the memory while a fabric runs."""

from __future__ import annotations

import os
from pathlib import Path

from vnicd.kernel.limits.raised import SharedLimit
from vnicd.native.memory import HUGE_PAGE

OVERCOMMIT = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages")
LEDGER = Path("/run/vnicd-hugepages.lock")


class Overcommit(SharedLimit):
    """This fabric's claim on hugepages: a bound, not a reservation."""

    def __init__(self, limit: Path = OVERCOMMIT, ledger: Path = LEDGER) -> None:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        super().__init__(limit, ledger, memory // HUGE_PAGE // 2)
