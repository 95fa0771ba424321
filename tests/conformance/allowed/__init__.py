"""The differences that direct connections may have, each with its reason; everything else is a fault.

A difference that is allowed ends the comparison of its program: what follows may follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.conformance.allowed import begun, buffers, ends, left_open, urgent
from tests.conformance.allowed.past import Past
from tests.conformance.program import Step
from tests.conformance.trace import Outcome


@dataclass(frozen=True)
class Allowed:
    """A rule: which outcome of a step may stand in for that of the kernel, and why; it knows what came before."""

    reason: str
    holds: Callable[[Sequence[Past], Step, Outcome, Outcome], bool]


RULES = [
    Allowed("direct-sockets.md: MSG_MORE and TCP_CORK hold nothing back, so bytes come sooner", buffers.held),
    Allowed(
        "direct-sockets.md: a listener with TCP_DEFER_ACCEPT gets a connection when its client, after its first"
        " write, calls the library again; the next ones come at once",
        begun.deferred,
    ),
    Allowed("direct-sockets.md: a relay's end is a Unix socket", begun.relayed),
    Allowed(
        "direct-sockets.md, known faults: a relay's end that is shut both ways, while another process has the"
        " connection",
        begun.half_closed_relay,
    ),
    Allowed(
        "direct-sockets.md: an edge of a relay's end needs that what came before was read",
        begun.edge_of_relay,
    ),
    Allowed("direct-sockets.md, known faults: a close under a call that was left by a jump", ends.jumped),
    Allowed("direct-sockets.md: a close is not put off for the threads that poll", ends.closed_under_others),
    Allowed("direct-sockets.md: buffers hold other amounts than the kernel's", buffers.filled),
    Allowed(
        "direct-sockets.md: buffers hold other amounts, so a signal meets another call", buffers.signalled
    ),
    Allowed(
        "direct-sockets.md: buffers hold other amounts, so a close meets another call",
        buffers.closed_meanwhile,
    ),
    Allowed("direct-sockets.md: buffers hold other amounts, so more bytes make an edge", buffers.fits),
    Allowed("direct-sockets.md: buffers hold other amounts, whatever SO_SNDBUF asks for", buffers.has_room),
    Allowed(
        "direct-sockets.md: buffers hold other amounts, so another call waits for room", buffers.told_once
    ),
    Allowed("direct-sockets.md: bytes that a reset has lost, seen by another process", buffers.lost),
    Allowed(
        "what epoll leaves open: which of several ready descriptors is told of first", left_open.which_first
    ),
    Allowed("direct-sockets.md: what was closed past the library is not asked for", ends.gone_unseen),
    Allowed("direct-sockets.md, known faults: a clone past the library", ends.cloned),
    Allowed("direct-sockets.md: an epoll forgets a number that is closed", ends.left_open),
    Allowed(
        "direct-sockets.md: an epoll with bytes to report tells of a death at a later wait", ends.told_next
    ),
    Allowed("direct-sockets.md: the error of a call whose connection another thread drops", ends.dropped),
    Allowed(
        "direct-sockets.md: an error that was not asked for goes with a dropped connection",
        ends.dropped_unread,
    ),
    Allowed("direct-sockets.md, known faults: EPOLLONESHOT that has fired before", begun.fired_before),
    Allowed("what TCP leaves open: when SO_RCVLOWAT wakes who asks for less", left_open.low_water),
    Allowed("what TCP leaves open: how long a port stays in use", left_open.bound),
    Allowed("what TCP leaves open: when a receive for no bytes ends", left_open.empty),
    Allowed("what TCP leaves open: which of two waiting threads is first", left_open.raced),
    Allowed("what TCP leaves open: which of two waiting receives has the bytes", left_open.shared),
    Allowed(
        "what TCP leaves open: what a waiting peek sees of bytes that another thread takes", left_open.peeked
    ),
    Allowed("how long a program takes: whether a time-out ends within it", left_open.timed_out),
    Allowed("what the kernel leaves open: from when on it knows the MTU of a new route", left_open.rerouted),
    Allowed(
        "direct-sockets.md: urgent data are not carried; sending them fails, and so does receiving them",
        urgent.urgent,
    ),
    Allowed(
        "direct-sockets.md: urgent data are not carried, so they end no receive", urgent.interrupted_by_urgent
    ),
    Allowed(
        "direct-sockets.md: urgent data are not carried, so a close leaves none unread", urgent.unread_urgent
    ),
    Allowed("direct-sockets.md: a bad pointer is refused at once", buffers.judged),
]


def reason(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> str | None:
    """Why this difference is allowed; None when it is a fault."""
    return next((rule.reason for rule in RULES if rule.holds(before, step, kernel, direct)), None)
