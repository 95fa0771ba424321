"""Urgent data, which direct connections do not carry."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from tests.conformance.allowed.past import EINVAL, EOPNOTSUPP, OOB, Past
from tests.conformance.program import EVENTS, Step
from tests.conformance.trace import Outcome


def urgent(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    if step.op in ("poll", "epollwait"):
        return any(value & EVENTS["PRI"] for value in kernel.values)
    refused = direct.result == -1 and direct.error in (EOPNOTSUPP, EINVAL)
    return step.op in ("send", "recv") and bool(step.args[2] & OOB) and refused


def interrupted_by_urgent(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A receive ended where urgent data came; a direct connection has refused them."""
    ended_by = [each.step for each in before if each.number == kernel.finished_at and each.step.op == "send"]
    return step.op == "recv" and any(each.args[2] & OOB for each in ended_by)


def unread_urgent(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A close with urgent data unread is a reset; a direct connection has refused them, and it is an end of file."""
    sent = any(each.step.op == "send" and each.step.args[2] & OOB for each in before)
    if not sent or direct.error:
        return False
    if step.op in ("poll", "epollwait"):
        ends = EVENTS["ERR"] | EVENTS["HUP"]
        return any(value & ends for value in kernel.values)
    return errno.ECONNRESET in (kernel.error, kernel.values[0])
