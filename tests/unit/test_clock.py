"""Nothing that vnicd decides follows from the wall clock, so stepping it can do no harm. Records of a trace show it.

It can't be stepped here to see: time namespaces have no wall clock of their own, and the machine's is not ours to set.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WALL_CLOCK = re.compile(
    r"\btime\.(time|time_ns|ctime|localtime|gmtime|strftime|asctime)\b|\bfrom time import|\bdatetime\b"
    r"|CLOCK_REALTIME|CLOCK_TAI|\bgettimeofday\b|\btime\(NULL\)|\.st_[mca]time\b|\.utime\("
)

SOURCES = sorted(
    path
    for place, kinds in (("vnicd", ("py",)), ("cext", ("pyx", "pxd", "h", "c")))
    for kind in kinds
    for path in (ROOT / place).rglob(f"*.{kind}")
)


OF_RECORDS = {
    "cext/datapath/state/trace.pxd",
    "vnicd/process/trace.py",
    "vnicd/cli/commands/groups/debug.py",
    "vnicd/protocol/log_line.py",
}
"""They write the time of a record, or of a line of a log, or show it."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_wall_clock(path: Path) -> None:
    """Log lines have it, by way of `logging`, and records of a trace; nothing else may ask for it."""
    found = WALL_CLOCK.findall(path.read_text())
    assert bool(found) == (str(path.relative_to(ROOT)) in OF_RECORDS), f"the wall clock in {path}: {found}"


def test_the_pattern_finds_what_it_is_for() -> None:
    lines = (
        "time.time()",
        "from time import time",
        "datetime.now()",
        "clock_gettime(CLOCK_REALTIME, &t)",
        "s.st_mtime",
    )
    assert all(WALL_CLOCK.search(line) for line in lines)
    assert not WALL_CLOCK.search("time.monotonic(), self.time_of_day, loop.time()")
