"""What a rule knows: the steps so far, with what the kernel did."""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.program import MSG, Step
from tests.conformance.trace import BLOCKED, Outcome

OOB = MSG["OOB"]
AMOUNTS = ("fill", "drain", "sendall", "recvall")
"""Calls in a row, whose last error is a value."""

ENDINGS = ("close", "shutdown", "dup", "kill", "exit")
"""What can end a connection."""

EOPNOTSUPP, EINVAL = 95, 22
TCP_CLOSE = 7


@dataclass(frozen=True)
class Past:
    """The step in question, or one that was made before it or while it blocked, with what the kernel did."""

    number: int
    step: Step
    kernel: Outcome

    def blocks_at(self, number: int) -> bool:
        """Whether the call had not returned when the step of that number was made."""
        stays = self.kernel.state == BLOCKED or (self.kernel.waited and self.kernel.finished_at >= number)
        return self.number < number and bool(stays)


def without(events: int, outcome: Outcome) -> list[int]:
    return [value & ~events for value in outcome.values]


def told_without(events: int, step: Step, outcome: Outcome) -> list[int]:
    """What a poll or a wait has told but for these events; an epoll says nothing of descriptors without any."""
    if step.op != "epollwait":
        return without(events, outcome)
    pairs = [outcome.values[2 * index : 2 * index + 2] for index in range(max(0, outcome.result))]
    return [value for slot, told in pairs if told & ~events for value in (slot, told & ~events)]
