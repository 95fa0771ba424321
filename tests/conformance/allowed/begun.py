"""How connections begin, and go on: listeners that defer, relays, entries that have fired before."""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.allowed.past import Past
from tests.conformance.program import HOW, Step
from tests.conformance.trace import BLOCKED, DONE, Outcome


def deferred(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """There is a listener that wants bytes first."""
    return any(" TCP_DEFER_ACCEPT " in each.step.text for each in before)


def relayed(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A connection was passed on: its end is a Unix socket, and bytes and events come a moment later.

    They must come, and they must be right. But what another process reads may have gone to the relay before.
    """
    if not any(each.step.op in ("give", "take", "exec") or step_execs(each.step) for each in before):
        return False
    ended_by = next(
        (each.step for each in before if kernel.waited and each.number == kernel.finished_at), step
    )
    unheard = ended_by.op == "connect" or (ended_by.op == "shutdown" and ended_by.args[1] != 1)
    same = kernel.result == direct.result > 0 and kernel.values == direct.values
    shared = any(
        each.step.op in ("recv", "recvall", "drain") and each.step.actor != step.actor for each in before
    )
    ahead = (step.op in ("recv", "recvall", "drain") and shared) or "ERRQUEUE" in step.text
    is_lost = direct.state == BLOCKED and kernel.state == DONE and not unheard and not ahead
    is_wrong = same and kernel.hash != direct.hash and not shared
    return not is_lost and not (is_wrong and " TRUNC" not in step.text.replace("|", " "))


def step_execs(step: Step) -> bool:
    return step.op == "fork" and HOW["fork"][step.args[1]] in ("fork+exec", "posix_spawn", "vfork+exec")


def half_closed_relay(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A Unix socket that is shut both ways looks closed: then another process may have the connection."""
    passed_on = any(each.step.op in ("give", "exec") or step_execs(each.step) for each in before)
    shuts = {each.step.args[1] for each in before if each.step.op == "shutdown"}
    both = 0 in shuts and 1 in shuts and any(each.step.op == "fork" for each in before)
    return passed_on and both and direct.state == BLOCKED


def edge_of_relay(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Who watches edges has read all before the next one; a relay's end lends no further bytes until then."""
    passed_on = any(each.step.op in ("give", "take", "exec") or step_execs(each.step) for each in before)
    edges = any(each.step.op == "epollctl" and "ET" in each.step.text for each in before)
    return step.op == "epollwait" and passed_on and edges and direct.state == BLOCKED and kernel.state == DONE


def fired_before(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An EPOLLONESHOT entry that has fired while its socket was the kernel's, and the socket connects then."""
    once = any(each.step.op == "epollctl" and "ONESHOT" in each.step.text for each in before)
    connected = any(each.step.op == "connect" and each.kernel.result == 0 for each in before)
    more = kernel.state == BLOCKED or kernel.result < direct.result
    return step.op == "epollwait" and once and connected and more
