"""What TCP and the kernel leave open."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from tests.conformance.allowed.past import AMOUNTS, ENDINGS, Past
from tests.conformance.program import MSG, OPTIONS, Step
from tests.conformance.trace import BLOCKED, Outcome


def low_water(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """The kernel wakes a receive for fewer bytes than SO_RCVLOWAT when there are as many, or never."""
    set_before = any(" SO_RCVLOWAT " in each.step.text for each in before)
    late = kernel.state == BLOCKED or (kernel.waited and kernel.result == direct.result)
    taken = direct.error == errno.EAGAIN and any(
        each.step.op == "recv" and (each.kernel.state == BLOCKED or each.kernel.waited) for each in before
    )
    waiting = any(each.step.op == "recv" and each.kernel.state == BLOCKED for each in before)
    left = waiting and kernel.state == BLOCKED and direct.result > 0  # the first of the two was not woken
    return set_before and step.op == "recv" and bool((late and direct.waited) or taken or left)


def which_first(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """More is ready than the epoll's wait has room for: which is told of first."""
    return step.op == "epollwait" and kernel.result == direct.result == step.args[2] > 0


def bound(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """How long a port stays in use after its connections: which end is left with TIME_WAIT, and when."""
    return (
        step.op == "bind"
        and errno.EADDRINUSE in (kernel.error, direct.error)
        and any(each.step.op in ENDINGS for each in before)
    )


def empty(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """TCP ends a receive for no bytes at whatever wakes it, be it a shutdown of its own for sending."""
    first_is_empty = step.op == "recv" and step.args[1] == 1 and "recvmmsg" in step.text
    if first_is_empty:  # a signal that ends the first message's wait ends the second's
        return bool(kernel.waited) and kernel.result == 1
    return step.op == "recv" and step.args[1] == 0 and bool(kernel.waited and direct.waited)


def raced(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """One thread takes the bytes that another is told of by a poll: which of the two is first."""
    numbers = {kernel.finished_at, direct.finished_at}
    taken = any(
        each.step.op == "recv"
        and each.step.actor != step.actor
        and each.kernel.waited
        and each.kernel.finished_at in numbers
        for each in before
    )
    return taken and step.op in ("poll", "epollwait")


def shared(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Two threads wait to receive, and bytes or a reset wake both: which of them has them, or its error."""
    waits = step.op == "recv" and bool(kernel.waited and direct.waited)
    numbers = {kernel.finished_at, direct.finished_at}
    others = any(
        each.step.op == "recv"
        and each.step.actor != step.actor
        and each.kernel.waited
        and (each.kernel.state == BLOCKED or each.kernel.finished_at in numbers)
        for each in before
    )
    return waits and others and {kernel.error, direct.error} <= {0, errno.ECONNRESET}


def peeked(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A peek that waits for more keeps what it has seen, or not, while another thread takes those bytes."""
    peeks = step.op == "recv" and bool(step.args[2] & MSG["PEEK"]) and bool(kernel.waited and direct.waited)
    others = any(each.step.op in ("recv", *AMOUNTS) and each.step.actor != step.actor for each in before)
    return peeks and others and kernel.result > 0 and direct.result > 0


def timed_out(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A call with a time-out blocks for as long as the rest of the program takes, or longer; or it is done before."""
    limited = any(f" SO_{way}TIMEO " in each.step.text for each in before for way in ("RCV", "SND"))
    longer = kernel.state == BLOCKED and bool(direct.waited)
    return limited and direct.error == errno.EAGAIN and (longer or kernel.error == errno.EAGAIN)


def rerouted(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An option such as IP_TOS makes the kernel look for the route anew, which it does with the next packet.

    Until then it knows no MTU, and keeps the one it had when the connection has ended. A direct connection sends no
    packet: it has the MTU of the route that it would get, and none without a connection.
    """
    asks = step.op == "getsockopt" and OPTIONS[step.args[1]] in ("IP_MTU", "IPV6_MTU")
    changed = any(each.step.op == "setsockopt" and each.kernel.result == 0 for each in before)
    return asks and changed and errno.ENOTCONN in (kernel.error, direct.error)
