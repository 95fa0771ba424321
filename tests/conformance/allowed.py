"""The differences that direct connections may have, each with its reason; everything else is a fault.

A difference that is allowed ends the comparison of its program: what follows may follow from it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.conformance.program import EVENTS, HOW, MSG, Step
from tests.conformance.trace import BLOCKED, Outcome

OOB = MSG["OOB"]
EOPNOTSUPP, EINVAL = 95, 22


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


@dataclass(frozen=True)
class Allowed:
    """A rule: which outcome of a step may stand in for that of the kernel, and why; it knows what came before."""

    reason: str
    holds: Callable[[Sequence[Past], Step, Outcome, Outcome], bool]


def _without(events: int, outcome: Outcome) -> list[int]:
    return [value & ~events for value in outcome.values]


def _urgent(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    return (
        step.op in ("send", "recv")
        and bool(step.args[2] & OOB)
        and direct.error in (EOPNOTSUPP, EINVAL)
        and direct.result == -1
    )


def _held(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Some bytes were sent that TCP holds back, for 0.2 s at most."""
    return any(
        (each.op == "send" and bool(each.args[2] & MSG["MORE"])) or " TCP_CORK " in each.text
        for each in (past.step for past in before)
    )


def _deferred(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """There is a listener that wants bytes first."""
    return any(" TCP_DEFER_ACCEPT " in each.step.text for each in before)


def _relayed(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An error of a connection that was passed on, or its absence."""
    if not any(each.step.op in ("give", "take", "exec") or "+exec" in each.step.text for each in before):
        return False
    if step.op in ("poll", "epollwait"):
        return _without(EVENTS["ERR"], kernel) == _without(EVENTS["ERR"], direct)
    errors = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
    return kernel.error in errors or direct.error in errors or (step.op == "connect" and direct.error == EINVAL)


def _closed_under_others(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A descriptor was closed under a thread that polls it or, past the library, that reads or writes."""
    closes = [past for past in before if past.step.op == "close"]
    for close in closes:
        end, slot, how = close.step.actor // 5, *close.step.args[:2]
        for past in before:
            if past.step.actor // 5 != end or not past.blocks_at(close.number):
                continue
            if past.step.op == "poll" and slot in past.step.args[2::2]:
                return True
            if past.step.op in ("recv", "send", "recvall", "sendall", "fill", "drain"):
                return past.step.args[0] == slot and HOW["close"][how] == "kernel"
    return False


def _grown(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Room in a buffer that was made larger than a ring: how much that is, is left out here."""
    if step.op not in ("poll", "epollwait"):
        return False
    grown = any(" SO_SNDBUFFORCE " in each.step.text for each in before)
    return grown and _without(EVENTS["OUT"], kernel) == _without(EVENTS["OUT"], direct)


RULES = [
    Allowed("direct-sockets.md: MSG_MORE and TCP_CORK hold nothing back, so bytes come sooner", _held),
    Allowed(
        "direct-sockets.md: a listener with TCP_DEFER_ACCEPT gets a connection when its client, after its first"
        " write, calls the library again; the next ones come at once",
        _deferred,
    ),
    Allowed("direct-sockets.md: a relay's end says EPIPE or an end where TCP says a reset", _relayed),
    Allowed("direct-sockets.md: a close is not put off for the threads that poll", _closed_under_others),
    Allowed("direct-sockets.md: a ring has 256 KiB, also where SO_SNDBUF says more", _grown),
    Allowed("README: urgent data are not carried; sending them fails, and so does receiving them", _urgent),
]


def reason(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> str | None:
    """Why this difference is allowed; None when it is a fault."""
    return next((rule.reason for rule in RULES if rule.holds(before, step, kernel, direct)), None)
