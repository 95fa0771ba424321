"""The run: programs from a seed over every combination of ends, and what is found, each kind of it once."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.compare import (
    Difference,
    Shrinker,
    Signature,
    is_allowed,
    is_late,
    is_steady,
    seen_again,
    signature,
)
from tests.conformance.generator.generate import generate
from tests.conformance.lanes import ROOT, Lane
from tests.conformance.program import Program
from tests.conformance.trace import Trace

BATCH = 16
FOLDER = ROOT / "build/conformance"


class NothingDirect(Exception):
    """No connection was direct, though both ends have the library: nothing was tested."""


@dataclass
class Plan:
    """What to run, and for how long."""

    seed: int
    seconds: float | None
    programs: int | None
    shrink: int
    """How many kinds of differences are shrunk."""
    without: Sequence[str] = ()
    first: int = 0
    keep: Path = FOLDER

    def numbers(self) -> Iterator[range]:
        """The numbers of the programs, in batches."""
        begin, number = time.monotonic(), self.first
        while True:
            over = self.seconds is not None and time.monotonic() > begin + self.seconds
            left = BATCH if self.programs is None else min(BATCH, self.first + self.programs - number)
            if over or left <= 0:
                return
            yield range(number, number + left)
            number += left


@dataclass
class Run:
    """Programs on lanes, and what has been found so far."""

    lanes: dict[str, Lane]
    plan: Plan
    programs: int = 0
    direct: int = 0
    allowed: int = 0
    unsteady: int = 0
    once: int = 0
    """A difference that did not come again."""
    late: int = 0
    """A difference that is gone when each step is given time to be felt."""
    different: set[str] = field(default_factory=set)
    kinds: Counter[Signature] = field(default_factory=Counter)
    shown: list[Difference] = field(default_factory=list)
    begin: float = field(default_factory=time.monotonic)

    def run(self) -> int:
        """The number of programs with a difference."""
        told = time.monotonic()
        before: list[tuple[Program, Trace]] = []
        for numbers in self.plan.numbers():
            programs = [generate(self.plan.seed, number, self.plan.without) for number in numbers]
            self._pin(numbers.start // BATCH)
            before = self._play(before, programs)
            if time.monotonic() > told + 10:
                told = time.monotonic()
                print(self.progress, flush=True)
        self._play(before, [])
        if "both" in self.lanes and not self.direct and self.programs >= 50:
            raise NothingDirect
        return len(self.different)

    def _pin(self, batch: int) -> None:
        """Three batches of four have each lane on one CPU, which is several times as fast; races need the fourth."""
        cpus = sorted(os.sched_getaffinity(0))
        for index, lane in enumerate(self.lanes.values()):
            lane.pin(cpus if batch % 4 == 3 else [cpus[index % len(cpus)]])

    @property
    def progress(self) -> str:
        seconds = time.monotonic() - self.begin
        return (
            f"{seconds:6.0f} s: {self.programs} programs ({self.programs / max(seconds, 0.001):.0f}/s), "
            f"{len(self.different)} different, {self.allowed} allowed, {self.unsteady} unsteady by themselves, "
            f"{self.once} not again, {self.late} only late, {self.direct} sends direct"
        )

    def _play(self, known: list[tuple[Program, Trace]], new: list[Program]) -> list[tuple[Program, Trace]]:
        """The new programs over the kernel's TCP, and beside it those whose outcome is known over all else."""
        plain, others = self.lanes["none"], [lane for name, lane in self.lanes.items() if name != "none"]
        for program in new:
            plain.send(program)
        for lane in others:
            for program, kernel in known:
                lane.send(program, kernel)
        traces = {lane.ends: [lane.receive() for _ in known] for lane in others}
        fresh = [(program, plain.receive()) for program in new]
        for ends, found in traces.items():
            for (program, kernel), trace in zip(known, found, strict=True):
                self.direct += trace.direct
                if not trace.same(kernel):
                    self._differs(program, ends, kernel, trace)
        self.programs += len(known)
        return fresh

    def _differs(self, program: Program, ends: str, kernel: Trace, direct: Trace) -> None:
        if is_allowed(program, kernel, direct):
            self.allowed += 1
            return
        kind = signature(program, ends, kernel, direct)
        if kind in self.kinds:
            self.kinds[kind] += 1
            self.different.add(program.seed)
            self._keep(Difference(program, ends, kernel, direct), f"same-kind-{sum(self.kinds.values())}")
        elif not is_steady(self.lanes["none"], program, kernel):
            self.unsteady += 1
        elif not (again := seen_again(self.lanes[ends], program, kernel)):
            self.once += 1
            self._keep(Difference(program, ends, kernel, direct), f"once-{self.once}")
        elif is_late(self.lanes["none"], self.lanes[ends], program):
            self.late += 1
            self._keep(Difference(program, ends, kernel, again), f"late-{self.late}")
        else:
            self.kinds[kind] += 1
            self.different.add(program.seed)
            self._report(Difference(program, ends, kernel, again))

    def _report(self, found: Difference) -> None:
        """Shows the first of each kind, and shrinks it before if that was not done too often already."""
        if len(self.shown) < self.plan.shrink:
            found = Shrinker(self.lanes["none"], self.lanes[found.ends], found).run()
            self.kinds[found.signature] += 0
        self.shown.append(found)
        path = self._keep(found, f"difference-{len(self.shown)}")
        print(f"\nA difference, in {path}:\n{found.text}", flush=True)

    def _keep(self, found: Difference, name: str) -> Path:
        self.plan.keep.mkdir(parents=True, exist_ok=True)
        path = self.plan.keep / f"{name}.txt"
        path.write_text(found.text)
        return path
