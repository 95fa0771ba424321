"""Hugepages on demand: the kernel's overcommit limit, raised to half of the memory while a fabric runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vnicd.kernel.limits.raised import SharedLimit
from vnicd.native.memory import HUGE_PAGE

COUNTS = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
OVERCOMMIT = COUNTS / "nr_overcommit_hugepages"
LEDGER = Path("/run/vnicd-hugepages.lock")


class Overcommit(SharedLimit):
    """This fabric's claim on hugepages: a bound, not a reservation."""

    def __init__(self, limit: Path = OVERCOMMIT, ledger: Path = LEDGER) -> None:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        super().__init__(limit, ledger, memory // HUGE_PAGE // 2)


def available(counts: Path = COUNTS, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Pages of 2 MiB that can be had now: the free ones of the pool, and those that limit and memory allow."""
    free, reserved, most, beyond = (
        int((counts / name).read_text())
        for name in ("free_hugepages", "resv_hugepages", "nr_overcommit_hugepages", "surplus_hugepages")
    )
    memory = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
    room = int(memory[1]) * 1024 // HUGE_PAGE if memory else 0
    return max(0, free - reserved) + max(0, min(most - beyond, room))
