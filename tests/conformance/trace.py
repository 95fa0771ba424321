"""Traces: what came of each step of a program, as the player tells it, and in words."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass

from tests.conformance.program import EVENTS, MSG, Program, Step, flags_text

OUTCOME = struct.Struct("=BBHiqIHH8i8s")
STATES = [
    "not run",
    "done",
    "blocked to the end",
    "the actor is in another call",
    "no such actor",
    "it ended in the call",
]
DONE, BLOCKED, ENDED = 1, 2, 5
JUMPED = -3


@dataclass(frozen=True)
class Outcome:
    """What came of a step."""

    state: int
    waited: int
    finished_at: int
    error: int
    result: int
    hash: int
    pipes: int
    handled: int
    values: tuple[int, ...]
    head: bytes

    def text(self, step: Step) -> str:
        if self.state != DONE:
            return STATES[self.state]
        words = [self._result(step)]
        if step.op == "recv" and self.result > 0:
            words.append(f"{self.head[: max(0, min(8, self.result))].hex()} hash {self.hash:08x}")
        elif self.hash and self.result > 0:
            words.append(f"hash {self.hash:08x}")
        if any(self.values):
            words.append(self._values(step))
        if self.waited:
            words.append(f"(blocked until step {self.finished_at + 1})")
        words += ["SIGPIPE"] * self.pipes + ["signal handled"] * self.handled
        return " ".join(words)

    def _result(self, step: Step) -> str:
        if self.result == JUMPED:
            return "left by siglongjmp"
        return f"-1 {errno.errorcode.get(self.error, self.error)}" if self.error else str(self.result)

    def _values(self, step: Step) -> str:
        if step.op == "poll":
            return "[" + ", ".join(flags_text(value, EVENTS) for value in self.values[:3]) + "]"
        if step.op == "epollwait":
            pairs = [self.values[2 * index : 2 * index + 2] for index in range(max(0, self.result))]
            return ", ".join(f"{slot}: {flags_text(events, EVENTS)}" for slot, events in pairs)
        if step.op == "recv" and step.args[3] == 4:
            return f"flags {flags_text(self.values[0], MSG)}, name {self.values[1]}, control {self.values[2]}"
        values = list(self.values)
        while values and not values[-1]:
            values.pop()
        return str(values)

    @property
    def brief(self) -> str:
        """Without what depends on the program around it, to tell kinds of differences apart."""
        if self.state != DONE:
            return STATES[self.state]
        name = errno.errorcode.get(self.error, "") if self.error else min(self.result, 1)
        return f"{name}{' after blocking' if self.waited else ''}{' SIGPIPE' if self.pipes else ''}"


@dataclass(frozen=True)
class Trace:
    """The outcomes of a program's steps, and how the first process of each end had ended before it was over."""

    raw: bytes
    status: tuple[int, int]
    direct: int = 0

    def outcome(self, index: int) -> Outcome:
        fields = OUTCOME.unpack_from(self.raw, index * OUTCOME.size)
        state, waited, finished_at, error, result, digest, pipes, handled = fields[:8]
        values, head = tuple(fields[8:16]), fields[16]
        return Outcome(state, waited, finished_at, error, result, digest, pipes, handled, values, head)

    def same(self, other: Trace) -> bool:
        return self.raw == other.raw and self.status == other.status

    def differs_at(self, other: Trace) -> list[int]:
        """The steps with different outcomes, what showed first before all others.

        A call that blocks is an early step with a late outcome: what comes of it may follow from a later step. The
        number of steps stands for the ends of the processes.
        """
        size = OUTCOME.size
        count = len(self.raw) // size
        found = [
            index
            for index in range(count)
            if self.raw[index * size : (index + 1) * size] != other.raw[index * size : (index + 1) * size]
        ]
        found.sort(key=lambda index: min(self._shown_at(index, count), other._shown_at(index, count)))
        return found or ([count] if self.status != other.status else [])

    def _shown_at(self, index: int, count: int) -> int:
        outcome = self.outcome(index)
        return count if outcome.state == BLOCKED else max(index, outcome.finished_at)


def _ended(status: int) -> str:
    if status == -1:
        return "lives"
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"


def side_by_side(program: Program, kernel: Trace, direct: Trace | None = None) -> str:
    """The steps with their outcomes; where they differ, both."""
    lines = []
    different = set(kernel.differs_at(direct)) if direct else set()
    for index, step in enumerate(program.steps):
        lines.append(f"{step.text:<44} # {index + 1}: {kernel.outcome(index).text(step)}")
        if direct and index in different:
            lines.append(f"{chr(35):<44} # DIFFERENT: {direct.outcome(index).text(step)}")
    for trace, name in ((kernel, "kernel"), (direct, "direct")):
        if trace and (len(program.steps) in different or any(status != -1 for status in trace.status)):
            lines.append(
                f"# processes, {name}: client {_ended(trace.status[0])}, server {_ended(trace.status[1])}"
            )
    return "\n".join(lines)
