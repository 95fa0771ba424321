"""Measures vnicd beside what else there is, prints tables and writes JSON: `scripts/bench`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from tests.bench.cost import COSTS, Cost
from tests.bench.figures import Results
from tests.bench.loads.tools import ToolFailed
from tests.bench.loads.workloads import Settings, Workload
from tests.bench.progress import Progress
from tests.bench.report import machine, print_machine, print_results
from tests.bench.runner import SuiteRun, cost_results, run_costs, steps_of
from tests.bench.sockets import SOCKET_NOISE_SUITES, SOCKET_SUITES, prepare
from tests.bench.suites import NOISE_SUITES, SUITES, UPLINK_NOISE_SUITES, UPLINK_SUITES, Suite
from tests.framework.traffic.servers import missing_programs

DEFAULT_ROUNDS, DEFAULT_SECONDS, DEFAULT_STEPS = 5, 3.0, 7
QUICK_ROUNDS, QUICK_SECONDS, QUICK_STEPS = 1, 1.0, 4

WIDTH = 110
"""Columns of the output where it goes to a file."""

Plan = list[tuple[Suite, tuple[Workload, ...]]]


def offered(uplink: bool, noise: bool, sockets: bool = False) -> tuple[tuple[Suite, ...], tuple[Cost, ...]]:
    """The suites and costs that there are to choose from."""
    if sockets:
        return SOCKET_NOISE_SUITES if noise else SOCKET_SUITES, ()
    if noise:
        return UPLINK_NOISE_SUITES if uplink else NOISE_SUITES, ()
    return (UPLINK_SUITES, ()) if uplink else (SUITES, COSTS)


def names(suites: tuple[Suite, ...], costs: tuple[Cost, ...]) -> list[str]:
    """All that --only takes."""
    found = [name for s in suites for name in (s.name, *(f"{s.name}.{load.name}" for load in s.workloads))]
    return [*found, *(["cost"] if costs else []), *(f"cost.{cost.name}" for cost in costs)]


def selection(only: str, known: list[str]) -> Callable[[str], bool]:
    """Tells whether a name was asked for; without any --only, all are."""
    wanted = {word.strip() for word in only.split(",") if word.strip()}
    if unknown := wanted - set(known):
        raise click.UsageError(f"nothing is called {sorted(unknown)[0]}; --list shows the names")
    return lambda name: not wanted or name in wanted


def _interrupted(number: int, frame: FrameType | None) -> None:
    """The first signal ends the run; the cleaning up that follows is left alone by more of them."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--rounds", type=click.IntRange(1), help=f"Samples of each figure (default {DEFAULT_ROUNDS}).")
@click.option(
    "--seconds", type=click.FloatRange(1), help=f"How long each takes (default {DEFAULT_SECONDS:g})."
)
@click.option("--only", default="", metavar="NAMES", help="Only these, divided by commas; see --list.")
@click.option("--list", "show_names", is_flag=True, help="Print the names that --only takes.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all samples there."
)
@click.option("--mtu", type=click.IntRange(576, 65000), default=1500, show_default=True)
@click.option("--quick", is_flag=True, help="One short round: to see that it works, not for figures.")
@click.option(
    "--uplink", is_flag=True, help="Traffic with a remote host by the uplink, beside the kernel's ways."
)
@click.option(
    "--sockets", is_flag=True, help="Well-known programs with direct sockets, beside the kernel's way."
)
@click.option("--noise", is_flag=True, help="The kernel's way against itself, to see how much is chance.")
@click.option("--strict", is_flag=True, help="Exit with 1 also when a bar is missed.")
def main(
    *,
    rounds: int | None,
    seconds: float | None,
    only: str,
    show_names: bool,
    json_file: Path | None,
    mtu: int,
    quick: bool,
    uplink: bool,
    sockets: bool,
    noise: bool,
    strict: bool,
) -> None:
    """Measures vnicd and veth+bridge in alternating rounds, what vnicd costs, and how it scales.

    With --uplink it measures instead what goes between a remote host and a partition, in bridge and in nat mode. With
    --sockets it measures direct sockets: iperf3, sockperf, redis, nginx, PostgreSQL, and making connections.

    Exits with 0 when all that was asked for was measured.
    """
    if uplink and sockets:
        raise click.UsageError("--uplink and --sockets are two different runs")
    suites, all_costs = offered(uplink, noise, sockets)
    known = names(suites, all_costs)
    if show_names:
        click.echo("\n".join(known))
        return
    if os.geteuid() != 0:
        raise click.ClickException("this needs root, because it makes network namespaces")
    if sockets:
        try:
            prepare(missing_programs())
        except ToolFailed as error:
            raise click.ClickException(str(error)) from error
    wanted = selection(only, known)
    settings = Settings(
        seconds=seconds or (QUICK_SECONDS if quick else DEFAULT_SECONDS),
        rounds=rounds or (QUICK_ROUNDS if quick else DEFAULT_ROUNDS),
        mtu=mtu,
        search_steps=QUICK_STEPS if quick else DEFAULT_STEPS,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    plan = [(suite, chosen) for suite in suites if (chosen := suite.chosen(wanted))]
    costs = [cost for cost in all_costs if wanted("cost") or wanted(f"cost.{cost.name}")]
    run = Run(settings)
    complete = run.measure(plan, costs)
    run.report(json_file)
    if not complete:
        sys.exit(128 + signal.SIGINT)
    sys.exit(1 if run.failures() or (strict and run.missed()) else 0)


class Run:
    """What was asked for, measured and reported, as far as it came."""

    def __init__(self, settings: Settings) -> None:
        self.console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
        self.settings = settings
        self.machine = machine()
        self.environments: dict[str, Any] = {}
        self.results: dict[str, Results] = {}

    def measure(self, plan: Plan, costs: list[Cost]) -> bool:
        """Whether it came to its end; False when it was interrupted."""
        print_machine(self.console, self.machine)
        total = sum(steps_of(*part, self.settings) for part in plan) + len(costs)
        try:
            with Progress(self.console, total) as progress:
                for suite, workloads in plan:
                    running = SuiteRun(suite, workloads, self.settings, progress)
                    self.results[suite.name], self.environments[suite.name] = running.results, running.facts
                    running.run()
                if costs:
                    self.results["cost"] = cost_results(costs)
                    run_costs(costs, self.settings, progress, self.results["cost"])
        except KeyboardInterrupt:
            return False
        return True

    def report(self, json_file: Path | None) -> None:
        self.machine["load_after"] = os.getloadavg()[0]
        for results in self.results.values():
            print_results(self.console, results)
        if json_file:
            document = {
                "machine": self.machine,
                "settings": asdict(self.settings),
                "environments": self.environments,
                "results": {name: results.to_json() for name, results in self.results.items()},
            }
            json_file.write_text(json.dumps(document, indent=2) + "\n")
            self.console.print(f"all samples: {json_file}", highlight=False)

    def failures(self) -> bool:
        return any(results.failures for results in self.results.values())

    def missed(self) -> bool:
        return any(results.missed() for results in self.results.values())


if __name__ == "__main__":
    main(prog_name="scripts/bench")
