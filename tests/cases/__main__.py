"""Runs cases by hand: `python -m tests.cases [NAME...] [--library PATH] [--ways WAY,...]`.

NAME is a kind (descriptors), a case (raw_close_file), or a pattern (reading/peek*); without any all cases are run.
For each case a line tells in which ways it did as TCP does, and what it printed instead elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.cases.case import WAYS, Case, matching
from tests.cases.difference import difference
from tests.cases.run import LIMIT, Outcome, library_of, run
from tests.cases.site import ROOT, Site

SIDE_BY_SIDE = 2

PROGRAMS = ROOT / "build/cases"
"""Compiled programs stay here for the next time."""


def report(case: Case, outcomes: list[Outcome], columns: tuple[str, ...]) -> bool:
    """Prints the case's line, and below it what differs; whether nothing does."""
    by_way = {outcome.way: outcome for outcome in outcomes}
    cells = [
        ("-" if way not in by_way else "ok" if by_way[way].is_right else "WRONG").ljust(8) for way in columns
    ]
    print(f"{case.name:44} {''.join(cells)}".rstrip(), flush=True)
    wrong = [outcome for outcome in outcomes if not outcome.is_right]
    for outcome in wrong:
        for line in difference(outcome):
            print(f"    {outcome.way:7} {line}".rstrip(), flush=True)
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a kind, a case or a pattern; default: all")
    parser.add_argument("--library", type=Path, default=library_of(ROOT), help="default: %(default)s")
    parser.add_argument("--ways", help=f"of {','.join(WAYS)}; default: all that a case has")
    parser.add_argument("--jobs", type=int, default=SIDE_BY_SIDE, help="side by side; default: %(default)s")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for a case; default: %(default)g")
    parser.add_argument("--list", action="store_true", help="only list the cases")
    words = parser.parse_args()
    columns = tuple(words.ways.split(",")) if words.ways else WAYS
    if unknown := set(columns) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    chosen = [case for case in matching(words.names) if set(case.ways) & set(columns)]
    if not chosen:
        parser.error("no such case")
    if words.list:
        print("\n".join(f"{case.name:44} {' '.join(case.ways)}" for case in chosen))
        return 0
    if not words.library.exists():
        parser.error(f"no {words.library}")
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    with Site(words.library.resolve(), PROGRAMS) as site, ThreadPoolExecutor(words.jobs) as pool:
        return try_all(chosen, columns, lambda case, way: pool.submit(run, site, case, way, words.limit))


def try_all(
    chosen: list[Case], columns: tuple[str, ...], start: Callable[[Case, str], Future[Outcome]]
) -> int:
    """Exit code 1 when a case has a difference."""
    began = time.monotonic()
    wrong = []
    print(f"{'':44} {''.join(way.ljust(8) for way in columns)}".rstrip())
    asked = [(case, [start(case, way) for way in case.ways if way in columns]) for case in chosen]
    for case, runs in asked:
        if not report(case, [each.result() for each in runs], columns):
            wrong.append(case.name)
    print(f"{len(chosen) - len(wrong)} of {len(chosen)} cases right, {time.monotonic() - began:.0f} s")
    if wrong:
        print("wrong: " + " ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
