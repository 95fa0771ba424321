"""The matrix as lines on the terminal, and as a document."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.compat.cells import DIRECT, FAILED, NONE, NOT_DIRECT, RIGHT, SKIPPED, Cell
from tests.compat.places import DOCUMENT
from tests.compat.program import Program
from tests.compat.results import Row, Rows
from tests.compat.suites.run import Found
from tests.compat.world import WAYS

COLUMNS = (*WAYS, "kill -9", "reload")
SHOWN = {
    RIGHT: "ok",
    DIRECT: "direct",
    FAILED: "FAILED",
    NOT_DIRECT: "NOT DIRECT",
    NONE: "-",
    SKIPPED: "skipped",
}
HEADS = ("program", "version", "plain", "both", "client only", "server only", "kill -9", "reload", "note")

INTRODUCTION = """\
# Compatibility

`scripts/compat --write` made this file on {date}, on Linux {kernel} ({system}), with the library of commit {commit}.

Each row is an unmodified program in two partitions. *plain*: neither end has the library. *both*: both ends have it.
*client only*, *server only*: one end has it, and the connection stays TCP. *ok* says that all data were right, *direct*
that they were right and that both ends had mapped the connection's shared memory. *kill -9*: each end was killed once,
and the other let go of the connection within {seconds} seconds. *reload*: the server was reloaded under load, and no
request failed. A dash stands where there is nothing to try.
"""


def shown(cell: Cell | None) -> str:
    return SHOWN[cell.outcome] if cell else ""


def heading() -> str:
    columns = "".join(f"{name:>12}" for name in COLUMNS)
    return f"{'':34}{columns}"


def beginning(name: str, version: str) -> str:
    """The first part of a row's line, to which cells are added as they come."""
    return f"{name + ' ' + version:34.33}"


def following(cell: Cell) -> str:
    return f"{shown(cell):>12}"


def findings(row: Row) -> list[str]:
    """A line for each cell that is not as it should be."""
    bad = {name: cell for name, cell in row.cells.items() if not cell.is_good}
    return [
        f"    {name}: {shown(cell)}: {short(cell.text, 500)} ({cell.seconds} s)" for name, cell in bad.items()
    ]


def commit_of(library: Path) -> str:
    """The commit of the tree that the library belongs to."""
    argv = ["git", "-c", "safe.directory=*", "-C", str(library.parent), "describe", "--always", "--dirty"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def system() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    names = [line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")]
    return names[0] if names else "unknown"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _line(program: Program, row: Row) -> str:
    if row.skipped:
        cells = ["skipped", *[""] * (len(COLUMNS) - 1)]
        return "| " + " | ".join([program.name, "", *cells, _escaped(row.skipped)]) + " |"
    cells = [shown(row.cells.get(name)) for name in COLUMNS]
    notes = [program.note] if program.note else []
    notes += [
        f"{name}: {short(cell.text)}" for name, cell in row.cells.items() if not cell.is_good and cell.text
    ]
    return "| " + " | ".join([program.name, row.version, *cells, _escaped("; ".join(notes))]) + " |"


def short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


SUITES_INTRODUCTION = """
## Upstream test suites

Each suite ran without the library, and beside it with the library while loopback was carried direct
(`scripts/compat --suites`). Counted are the tests that pass without it.

| suite | version | pass without | of those with | differing |
|---|---|---|---|---|
"""


def _suites(found: dict[str, Found]) -> str:
    """The table of suites; nothing if none was run."""
    lines = []
    for each in found.values():
        if each.skipped:
            lines.append(f"| {each.name} | | | | skipped: {_escaped(each.skipped)} |")
        else:
            names = ", ".join(name.rpartition(".")[2] for name in sorted(each.differing))
            numbers = f"{each.passed:,} | {each.passed_direct:,}"
            lines.append(f"| {each.name} | {each.version} | {numbers} | {_escaped(short(names, 300))} |")
    return SUITES_INTRODUCTION + "\n".join(lines) + "\n" if lines else ""


def write(
    programs: Sequence[Program], rows: Rows, suites: dict[str, Found], commit: str, seconds: float
) -> None:
    """The document, of all rows and suites that are known."""
    known = [program for program in programs if program.name in rows]
    text = INTRODUCTION.format(
        date=datetime.now(UTC).date().isoformat(),
        kernel=platform.release(),
        system=system(),
        commit=commit,
        seconds=f"{seconds:g}",
    )
    text += "\n| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS) + "\n"
    text += "".join(_line(program, rows[program.name]) + "\n" for program in known)
    text += _suites(suites)
    DOCUMENT.parent.mkdir(parents=True, exist_ok=True)
    DOCUMENT.write_text(text)
