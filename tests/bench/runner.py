"""Runs suites in alternating rounds, and costs one after the other."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from tests.bench.cost import Cost
from tests.bench.environments import Environment, Vnicd
from tests.bench.figures import Results, number
from tests.bench.loads.parsing import Unreadable
from tests.bench.loads.tools import ToolFailed
from tests.bench.loads.workloads import Settings, Workload
from tests.bench.progress import Progress
from tests.bench.suites import Suite

T = TypeVar("T")

FAILURES = (ToolFailed, Unreadable, AssertionError, OSError, RuntimeError, subprocess.SubprocessError)
"""What may go wrong in one measurement without ending the run."""


def steps_of(suite: Suite, workloads: Sequence[Workload], settings: Settings) -> int:
    """Measurements that `run_suite` makes."""
    return settings.rounds * len(suite.environments) * len(workloads)


class SuiteRun:
    """One run of a suite: its results and the facts of its environments grow while it goes.

    Every workload runs in one environment right after the other, and the order turns round with each round,
    so that whatever the machine drifts by hits all of them alike.
    """

    def __init__(
        self, suite: Suite, workloads: Sequence[Workload], settings: Settings, progress: Progress
    ) -> None:
        self.suite, self.workloads, self.settings, self.progress = suite, workloads, settings, progress
        self.results = Results(suite.title, [kind.name for kind in suite.environments])
        self.results.expect([metric for load in workloads for metric in load.metrics], suite.bars)
        self.facts: dict[str, Any] = {}

    def run(self) -> None:
        """What goes wrong with an environment itself ends the suite, and is told as its failure."""
        try:
            self._all_rounds()
        except FAILURES as error:
            self.results.failures.append(f"{self.suite.name}: {error}")

    def _all_rounds(self) -> None:
        if self.suite.one_at_a_time:
            for turn in range(self.settings.rounds):
                for kind in _turned(self.suite.environments, turn):
                    with ExitStack() as stack:
                        self._round([self._make(stack, kind)], turn)
            return
        with ExitStack() as stack:
            environments = [self._make(stack, kind) for kind in self.suite.environments]
            for turn in range(self.settings.rounds):
                self._round(_turned(environments, turn), turn)

    def _make(self, stack: ExitStack, kind: type[Environment]) -> Environment:
        self.progress.say(f"{self.suite.name}: making {kind.name}")
        environment = stack.enter_context(kind(self.settings.mtu))
        self.facts[kind.name] = environment.facts()
        return environment

    def _round(self, environments: Sequence[Environment], turn: int) -> None:
        for load in self.workloads:
            for environment in environments:
                self._measure(load, environment, f"{self.suite.name} {turn + 1}/{self.settings.rounds}")

    def _measure(self, load: Workload, environment: Environment, where: str) -> None:
        label = f"{where} {environment.name}: {load.metrics[0].title}"
        self.progress.begin(label)
        try:
            environment.warm_up()
            figures = load.run(environment, self.settings)
        except FAILURES as error:
            self.results.failures.append(f"{label}: {error}")
            self.progress.end("failed")
            return
        self.results.add(environment.name, figures)
        self.progress.end(_text(load, figures))


def _turned(items: Sequence[T], turn: int) -> list[T]:
    return list(items) if turn % 2 == 0 else list(reversed(items))


def _text(load: Workload, figures: Mapping[str, float]) -> str:
    return ", ".join(f"{number(figures[metric.name])} {metric.unit}" for metric in load.metrics)


def cost_results(costs: Sequence[Cost]) -> Results:
    """Where the samples of these costs of vnicd go."""
    results = Results("what vnicd costs", [Vnicd.name])
    results.expect([cost.metric for cost in costs], {cost.name: cost.bar for cost in costs})
    return results


def run_costs(costs: Sequence[Cost], settings: Settings, progress: Progress, results: Results) -> None:
    for cost in costs:
        label = f"cost: {cost.metric.title}"
        progress.begin(label)
        try:
            for value in cost.run(settings):
                results.add(Vnicd.name, {cost.name: value})
            progress.end(f"{number(results.rows[cost.name].judged())} {cost.metric.unit}")
        except FAILURES as error:
            results.failures.append(f"{label}: {error}")
            progress.end("failed")
