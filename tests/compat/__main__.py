"""Runs the matrix and prints it row by row: `scripts/compat`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import click

from tests.compat import needs, report, results
from tests.compat.cells import NOTICE_TIMEOUT_S, row
from tests.compat.places import ROOT
from tests.compat.program import Program
from tests.compat.registry import PROGRAMS
from tests.compat.results import Row, Rows
from tests.compat.suites import run as suites_run
from tests.compat.suites.listed import SUITES
from tests.compat.world import WAYS, World, choose_library

LIBRARY = ROOT / "vnicd/libvnicd-sockets.so"


def interrupted(number: int, frame: FrameType | None) -> None:
    """The first signal ends the run; the cleaning up that follows is left alone by more of them."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def chosen(only: str) -> list[Program]:
    """Those whose names begin with one of the words, or all of them."""
    words = [word.strip().lower() for word in only.split(",") if word.strip()]
    for word in words:
        if not any(each.name.lower().startswith(word) for each in PROGRAMS):
            raise click.UsageError(f"no program's name begins with {word!r}; --list shows the names")
    return [
        each for each in PROGRAMS if not words or any(each.name.lower().startswith(word) for word in words)
    ]


def ways_of(text: str) -> list[str]:
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := set(wanted) - set(WAYS):
        raise click.UsageError(f"there is no way {sorted(unknown)[0]!r}, only {', '.join(WAYS)}")
    return [way for way in WAYS if way in wanted]


def run_row(world: World, program: Program, ways: list[str], before: Row | None) -> Row:
    """Runs and prints a row; the cells of ways that are not asked for stay as they were."""
    if reason := needs.lacking(program.needs):
        print(f"{report.beginning(program.name, '')}{'skipped':>12}: {reason}", flush=True)
        return Row(skipped=reason)
    made = Row(program.version(), "", dict(before.cells) if before else {})
    print(report.beginning(program.name, made.version), end="", flush=True)
    column = 0
    for name, cell in row(world, program, ways):
        place = report.COLUMNS.index(name)
        print(" " * 12 * (place - column) + report.following(cell), end="", flush=True)
        column = place + 1
        made.cells[name] = cell
    print(flush=True)
    for line in report.findings(made):
        print(line, flush=True)
    return made


def run(programs: list[Program], ways: list[str], file: Path, resume: bool) -> Rows:
    """The rows of these programs and of earlier runs with the same library."""
    rows = results.load(file)
    os.nice(max(0, 5 - os.nice(0)))
    needs.install(programs)
    print(report.heading(), flush=True)
    with World() as world:
        for program in programs:
            before = rows.get(program.name)
            if resume and before and set(ways) <= set(before.cells):
                continue
            rows[program.name] = run_row(world, program, ways, before)
            results.save(file, rows)
    return rows


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--only", default="", metavar="NAMES", help="Only programs whose names begin so, divided by commas."
)
@click.option("--ways", default=",".join(WAYS), show_default=True, help="Who has the library.")
@click.option(
    "--library", default=LIBRARY, type=click.Path(path_type=Path), help="Another library than this tree's."
)
@click.option("--resume", is_flag=True, help="Leave out rows that were run with this library before.")
@click.option("--list", "show_names", is_flag=True, help="Print the names, and what can't be run.")
@click.option("--write", is_flag=True, help="Write docs/reference/compatibility.md.")
@click.option("--suites", is_flag=True, help="Run upstream test suites instead, over loopback.")
def main(
    only: str, ways: str, library: Path, resume: bool, show_names: bool, write: bool, suites: bool
) -> None:
    """Runs well-known programs with the preload library at both ends, at one end, and at none."""
    if show_names:
        for each in chosen(only):
            print(f"{each.name:34}{needs.lacking(each.needs)}")
        print(f"suites: {', '.join(each.name for each in SUITES)}")
        return
    library = library.resolve()
    if not library.exists():
        raise click.UsageError(f"there is no {library}; scripts/setup builds it")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, interrupted)
    choose_library(library)
    begin = time.monotonic()
    rows, found = results.file_of(library), results.file_of(library, "suites")
    commit = report.commit_of(library)
    bad = run_suites(only, found) if suites else run_programs(chosen(only), ways_of(ways), rows, resume)
    if write:
        report.write(PROGRAMS, results.load(rows), suites_run.load(found), commit, NOTICE_TIMEOUT_S)
    print(f"{time.monotonic() - begin:.0f} s")
    sys.exit(1 if bad else 0)


def run_programs(programs: list[Program], ways: list[str], file: Path, resume: bool) -> int:
    """How many rows have findings."""
    rows = run(programs, ways, file, resume)
    asked = [rows[each.name] for each in programs]
    bad = sum(not each.is_good for each in asked)
    skipped = sum(bool(each.skipped) for each in asked)
    print(f"{len(asked)} programs: {bad} with findings, {skipped} skipped")
    return bad


def run_suites(only: str, file: Path) -> int:
    """How many suites have tests that pass without the library alone."""
    words = [word.strip().lower() for word in only.split(",") if word.strip()]
    asked = [
        each for each in SUITES if not words or any(each.name.lower().startswith(word) for word in words)
    ]
    with TemporaryDirectory(prefix="vnicd-compat-") as folder:
        found = suites_run.run_all(asked, Path(folder), file)
    return sum(bool(found[each.name].differing) for each in asked)


if __name__ == "__main__":
    main()
