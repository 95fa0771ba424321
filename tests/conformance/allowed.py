"""The differences that direct connections may have, each with its reason; everything else is a fault.

A difference that is allowed ends the comparison of its program: what follows may follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance.program import MSG, Step
from tests.conformance.trace import Outcome

OOB = MSG["OOB"]
EOPNOTSUPP, EINVAL = 95, 22


@dataclass(frozen=True)
class Allowed:
    """A rule: which outcome of a step may stand in for that of the kernel, and why."""

    reason: str
    holds: Callable[[Step, Outcome, Outcome], bool]


def _urgent(step: Step, kernel: Outcome, direct: Outcome) -> bool:
    return (
        step.op in ("send", "recv")
        and bool(step.args[2] & OOB)
        and direct.error in (EOPNOTSUPP, EINVAL)
        and direct.result == -1
    )


RULES = [
    Allowed("README: urgent data are not carried; sending them fails, and so does receiving them", _urgent),
]


def reason(step: Step, kernel: Outcome, direct: Outcome) -> str | None:
    """Why this difference is allowed; None when it is a fault."""
    return next((rule.reason for rule in RULES if rule.holds(step, kernel, direct)), None)
