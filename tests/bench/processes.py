"""What daemons cost: their CPU time and their memory."""

from __future__ import annotations

from pathlib import Path

from tests.bench.loads.parsing import own_pss, schedstat_ns


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far.

    From schedstat, which counts nanoseconds; the clock ticks in /proc/PID/stat are too coarse for daemons
    that run a few microseconds a second.
    """
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(schedstat_ns((task / "schedstat").read_text()) for task in tasks) / 1e9


def pss(pid: int) -> int:
    """Bytes of memory of a process's own; see own_pss."""
    return own_pss(Path(f"/proc/{pid}/smaps").read_text())
