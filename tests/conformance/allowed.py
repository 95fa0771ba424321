"""The differences that direct connections may have, each with its reason; everything else is a fault.

A difference that is allowed ends the comparison of its program: what follows may follow from it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.conformance.program import MSG, Step
from tests.conformance.trace import Outcome

OOB = MSG["OOB"]
EOPNOTSUPP, EINVAL = 95, 22


@dataclass(frozen=True)
class Allowed:
    """A rule: which outcome of a step may stand in for that of the kernel, and why; it knows what came before."""

    reason: str
    holds: Callable[[Sequence[Step], Step, Outcome, Outcome], bool]


def _urgent(before: Sequence[Step], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    return (
        step.op in ("send", "recv")
        and bool(step.args[2] & OOB)
        and direct.error in (EOPNOTSUPP, EINVAL)
        and direct.result == -1
    )


def _held(before: Sequence[Step], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Some bytes were sent that TCP holds back, for 0.2 s at most."""
    return any(
        (each.op == "send" and bool(each.args[2] & MSG["MORE"])) or " TCP_CORK " in each.text
        for each in (*before, step)
    )


def _deferred(before: Sequence[Step], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """There is a listener that wants bytes first."""
    return any(" TCP_DEFER_ACCEPT " in each.text for each in before)


def _relayed(before: Sequence[Step], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An error of a connection that was passed on, or its absence."""
    errors = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
    return any(each.op in ("take", "exec") for each in before) and (
        kernel.error in errors or direct.error in errors
    )


RULES = [
    Allowed("direct-sockets.md: MSG_MORE and TCP_CORK hold nothing back, so bytes come sooner", _held),
    Allowed(
        "direct-sockets.md: a listener with TCP_DEFER_ACCEPT gets a connection when its client, after its first"
        " write, calls the library again; the next ones come at once",
        _deferred,
    ),
    Allowed("direct-sockets.md: a relay's end says EPIPE or an end where TCP says a reset", _relayed),
    Allowed("README: urgent data are not carried; sending them fails, and so does receiving them", _urgent),
]


def reason(before: Sequence[Step], step: Step, kernel: Outcome, direct: Outcome) -> str | None:
    """Why this difference is allowed; None when it is a fault."""
    return next((rule.reason for rule in RULES if rule.holds(before, step, kernel, direct)), None)
