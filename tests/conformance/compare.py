"""Whether a program goes as over the kernel's TCP, whether it does so each time, and its shortest form if not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tests.conformance import allowed
from tests.conformance.allowed.past import Past
from tests.conformance.lanes import CONFIRM_MS, Lane
from tests.conformance.program import HOW, KINDS, Program, Step
from tests.conformance.trace import Trace, side_by_side

Signature = tuple[str, ...]

SHRINK_SECONDS, SHRINK_MS = 30, 150
PAUSE_MS = 6
REPEATS = 10
"""How often a difference that came once is looked for again, and the kernel's outcome compared with itself."""


@dataclass(frozen=True)
class Difference:
    """A program with another outcome than over the kernel's TCP."""

    program: Program
    ends: str
    kernel: Trace
    direct: Trace

    @property
    def text(self) -> str:
        head = f"# seed {self.program.seed}\n# ends {self.ends}\n"
        return head + side_by_side(self.program, self.kernel, self.direct) + "\n"

    @property
    def signature(self) -> Signature:
        return signature(self.program, self.ends, self.kernel, self.direct)


def signature(program: Program, ends: str, kernel: Trace, direct: Trace) -> Signature:
    """The kind of the first difference: the operation, its way, and both outcomes in brief; empty if there is none."""
    (first, *_) = kernel.differs_at(direct) or [-1]
    if first < 0:
        return ()
    if first == len(program.steps):
        return (ends, "end", str(kernel.status), str(direct.status))
    step = program.steps[first]
    ways = HOW.get(step.op, [])
    numbers = [
        value for kind, value in zip(KINDS[step.op], step.args, strict=False) if kind in ("how", "option")
    ]
    way = ways[numbers[0]] if numbers and numbers[0] < len(ways) else str(numbers[:1])
    return (ends, step.op, way, kernel.outcome(first).brief, direct.outcome(first).brief)


def is_allowed(program: Program, kernel: Trace, direct: Trace) -> bool:
    first = kernel.differs_at(direct)[0]
    if first == len(program.steps):
        return False
    kernel_outcome, outcome = kernel.outcome(first), direct.outcome(first)
    last = max(first, kernel_outcome.finished_at, outcome.finished_at)
    steps = enumerate(program.steps[: last + 1])
    before = [Past(number, step, kernel.outcome(number)) for number, step in steps]
    return allowed.reason(before, program.steps[first], kernel_outcome, outcome) is not None


def is_steady(lane: Lane, program: Program, kernel: Trace) -> bool:
    """Whether the kernel's TCP itself has the same outcome again: when told what to expect, and when not."""
    return all(lane.play(program, hint).same(kernel) for hint in [kernel, None] * (REPEATS // 2))


def seen_again(lane: Lane, program: Program, kernel: Trace) -> Trace | None:
    """The different outcome, if it comes again in some rounds."""
    for _ in range(REPEATS):
        direct = lane.play(program, kernel, CONFIRM_MS)
        if not direct.same(kernel) and not is_allowed(program, kernel, direct):
            return direct
    return None


def is_late(plain: Lane, lane: Lane, program: Program, ms: int = CONFIRM_MS) -> bool:
    """Whether the outcome is that of the kernel when each step is given time to be felt at the other end.

    How long that takes is left open by TCP. A program that is another one with the pauses can't be judged so.
    """
    slow = plain.play(program, pause_ms=PAUSE_MS)
    return lane.play(program, slow, ms, PAUSE_MS).same(slow) and slow.same(plain.play(program))


class Shrinker:
    """Looks for the shortest program with the same kind of difference."""

    def __init__(self, plain: Lane, lane: Lane, found: Difference) -> None:
        self.plain, self.lane, self.best = plain, lane, found
        self.end = time.monotonic() + SHRINK_SECONDS
        self.seen: set[str] = set()
        self.careful = False
        """Whether no shorter program may be one that is only late; that takes a while to find out."""

    def run(self) -> Difference:
        """Until nothing can be left out or made simpler, or the time is up."""
        found = self.best
        self._reduce()
        if is_late(self.plain, self.lane, self.best.program):
            self.careful, self.best, self.seen = True, found, set()
            self._reduce()
        return self._confirmed(found)

    def _reduce(self) -> None:
        before = None
        while before != self.best.program and time.monotonic() < self.end:
            before = self.best.program
            self._cut()
            self._simplify()

    def _cut(self) -> None:
        first = self.best.kernel.differs_at(self.best.direct)[0]
        self._try(self.best.program.steps[: first + 1])
        size = max(1, len(self.best.program.steps) // 2)
        while True:
            at = len(self.best.program.steps)
            while at > 0:
                at = max(0, at - size)
                steps = self.best.program.steps
                self._try([*steps[:at], *steps[at + size :]])
            if size == 1:
                return
            size = max(1, size // 2)

    def _simplify(self) -> None:
        for index in range(len(self.best.program.steps)):
            while self._simplify_step(index):
                continue

    def _simplify_step(self, index: int) -> bool:
        steps = self.best.program.steps
        return any(
            self._try([*steps[:index], simpler, *steps[index + 1 :]])
            for simpler in simpler_steps(steps[index])
        )

    def _try(self, steps: Sequence[Step]) -> bool:
        """Takes a program if it has the difference, and the kernel's outcome is the same twice."""
        program = self.best.program.with_steps(steps)
        if program.text in self.seen or time.monotonic() > self.end:
            return False
        self.seen.add(program.text)
        kernel = self.plain.play(program)
        direct = self.lane.play(program, kernel, SHRINK_MS)
        kind = signature(program, self.lane.ends, kernel, direct)
        if kind != self.best.signature or not self.plain.play(program, kernel).same(kernel):
            return False
        if self.careful and is_late(self.plain, self.lane, program, SHRINK_MS):
            return False
        self.best = Difference(program, self.lane.ends, kernel, direct)
        return True

    def _confirmed(self, found: Difference) -> Difference:
        """The shortest program, or the one that it comes from if that has no steady outcome."""
        best = self.best
        if not is_steady(self.plain, best.program, best.kernel):
            return found
        direct = seen_again(self.lane, best.program, best.kernel)
        return replace(best, direct=direct) if direct else found


def _fewer_bits(value: int) -> list[int]:
    return [value & ~(1 << bit) for bit in range(31) if value & 1 << bit]


def _smaller(value: int) -> list[int]:
    return [each for each in (0, 1, 5, 10, 100) if each < value]


def _nothing(_: int) -> list[int]:
    return []


SIMPLER: dict[str, Callable[[int], list[int]]] = {
    "msg": lambda value: [0, *_fewer_bits(value)],
    "sockflags": lambda value: [0] if value > 0 else [],
    "family": lambda value: [int(socket.AF_INET)],
    "count": _smaller,
    "events": lambda value: [1, *_fewer_bits(value)] if value else [],
    "how": lambda value: list(range(value)),
}
"""What to try instead of an argument, by its kind."""

WAYS = {"send", "recv", "close", "poll", "dup", "accept", "epollwait", "fork"}
"""Operations whose ways are all ways of doing the same."""


def simpler_steps(step: Step) -> Iterator[Step]:
    """The same step with one thing less to think about."""
    first = step.actor // 5 * 5
    if step.actor != first:
        yield replace(step, actor=first)
    if step.timed:
        yield replace(step, timed=False)
    for index, (kind, value) in enumerate(zip(KINDS[step.op], step.args, strict=False)):
        if kind == "how" and step.op not in WAYS:
            continue
        for other in SIMPLER.get(kind, _nothing)(value):
            if other != value:
                yield replace(step, args=(*step.args[:index], other, *step.args[index + 1 :]))
