"""What a run leaves: tables on the terminal, one JSON document, and the facts of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.figures import Bar, Results, Row, number

STYLES = {"aim met": "bold green", "met": "green", "missed": "bold red", "": ""}


def machine() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "model": _cpu_model(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "python": platform.python_version(),
        "commit": _first_line("git", "-c", "safe.directory=*", "describe", "--always", "--dirty"),
        "iperf3": _first_line("iperf3", "--version"),
        "sockperf": _first_line("sockperf", "--version"),
        "ping": _first_line("ping", "-V"),
        "load_before": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter(done.stdout.splitlines()), "unknown")


def print_machine(console: Console, facts: dict[str, Any]) -> None:
    console.print(
        f"{facts['cpus']} CPUs ({facts['model']}), Linux {facts['kernel']} {facts['architecture']}, "
        f"load {facts['load_before']:.1f}",
        highlight=False,
    )
    if facts["load_before"] > facts["cpus"] / 2:
        console.print(
            "[yellow]The machine is busy with other things: the figures will be too low and uneven.[/]"
        )


def print_results(console: Console, results: Results) -> None:
    """One line for each metric: medians, ratio, bar; where there is no ratio the bar is for the median."""
    compares = len(results.environments) > 1
    table = Table(title=results.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("")
    table.add_column("unit")
    for name in results.environments:
        table.add_column(name, justify="right")
    table.add_column("spread", justify="right")
    if compares:
        table.add_column("ratio", justify="right")
    table.add_column("bar")
    table.add_column("")
    for row in results.rows.values():
        table.add_row(*_cells(row, compares), style="" if row.bar else "dim" if compares else "")
    console.print(table)
    for failure in results.failures:
        console.print(f"failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)


def _cells(row: Row, compares: bool) -> list[str]:
    medians = row.medians()
    cells = [row.metric.title, row.metric.unit, *(number(medians.get(name)) for name in row.samples)]
    cells.append("-" if row.spread() is None else f"{row.spread():.0%}")
    if compares:
        cells.append(f"{row.ratio():.2f}" if row.ratio() is not None else "-")
    verdict = row.verdict()
    style = STYLES[verdict]
    return [
        *cells,
        _bar(row.bar, row.metric.more_is_better, row.metric.unit),
        f"[{style}]{verdict}[/]" if style else "",
    ]


def _bar(bar: Bar | None, more_is_better: bool, unit: str) -> str:
    if bar is None:
        return ""
    sign = "≥" if more_is_better else "≤"
    text = f"{sign} {bar.limit:g}" + (f", aim {bar.aim:g}" if bar.aim is not None else "")
    return text + f" {unit}" if bar.absolute else text
