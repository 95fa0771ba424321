"""What depends on how much a buffer holds, and on when bytes leave it."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from tests.conformance.allowed.past import AMOUNTS, Past, told_without
from tests.conformance.program import EVENTS, MSG, Step
from tests.conformance.trace import BLOCKED, ENDED, Outcome


def signalled(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A signal came while calls filled the buffers: one that has sent some is followed by the next, else they end."""
    waits = BLOCKED in (kernel.state, direct.state)
    return step.op in AMOUNTS and waits and errno.EINTR in (kernel.error, direct.error)


def closed_meanwhile(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A number was closed under calls that fill the buffers, and the connection was reset then.

    The call that it meets has sent some, and is followed by one on what has the number next; or it has sent none.
    """
    waits = BLOCKED in (kernel.state, direct.state)
    closed = any(each.step.op == "close" and each.step.args[0] == step.args[0] for each in before)
    error = kernel.error if direct.state == BLOCKED else direct.error
    return step.op in AMOUNTS and waits and closed and error in (errno.ECONNRESET, errno.EPIPE)


def judged(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """The kernel finds out that a buffer is bad when there is room for its bytes, and no error comes first."""
    full = any(each.step.op in ("fill", "sendall") for each in before)
    later = (full and kernel.state in (BLOCKED, ENDED)) or kernel.error == errno.ECONNREFUSED
    return step.op == "badio" and later and direct.error == errno.EFAULT


def held(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Some bytes were sent that TCP holds back, for 0.2 s at most."""
    return any(
        (each.op == "send" and bool(each.args[2] & MSG["MORE"])) or " TCP_CORK " in each.text
        for each in (past.step for past in before)
    )


def filled(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """What depends on how much the buffers hold: whether there is room, and whether a FIN, behind it all, has come."""
    if not any(each.step.op in ("fill", "sendall") for each in before):
        return False
    events = EVENTS["OUT"] | EVENTS["RDHUP"] | EVENTS["HUP"]
    # Bytes that come after a shutdown reset the connection, if they come.
    if any(each.step.op == "shutdown" for each in before):
        events |= EVENTS["ERR"]
    if step.op in ("poll", "epollwait"):
        return told_without(events, step, kernel) == told_without(events, step, direct)
    if step.op == "send":
        full = BLOCKED in (kernel.state, direct.state) or errno.EAGAIN in (kernel.error, direct.error)
        lost = {errno.EPIPE, errno.ECONNRESET}  # the second where the FIN, behind all bytes, had not come
        ended = direct.error in lost or 0 < direct.result < kernel.result
        freed = (
            kernel.error in lost and bool(direct.waited) and direct.result > 0
        )  # by a read: TCP waits for a third
        return full or freed or (kernel.result > 0 and ended) or {kernel.error, direct.error} == lost
    if step.op in ("sendall", "fill"):
        others = any(each.step.op == "sendall" and each.blocks_at(each.number + 1) for each in before)
        shut = any(each.step.op == "shutdown" and each.step.args[1] != 1 for each in before)
        same = kernel.result == direct.result
        return (shut and (step.op == "sendall" or same)) or (step.op == "fill" and others)
    if step.op in ("shutdown", "close", "name"):
        resets = any(" SO_LINGER " in each.step.text for each in before)
        return resets if step.op == "close" else errno.ENOTCONN in (kernel.error, direct.error)
    amounts = ("FIONREAD", "SIOCOUTQ", "TCP_INFO")
    return step.op in ("drain", "recvall") or any(f" {name} " in f"{step.text} " for name in amounts)


def fits(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Bytes that find no room at TCP's receiver make no edge there; here they may have room.

    Nor do they reset a connection whose receiver has shut both directions. A poll asks the epoll for the edge.
    """
    filled = any(each.step.op == "fill" for each in before)
    is_edge = any(each.step.op == "epollctl" and "ET" in each.step.text for each in before)
    asks = step.op in ("epollwait", "poll")
    return filled and is_edge and asks and max(0, kernel.result) < direct.result


def has_room(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Who has asked for a large buffer, be it while the send waits, gets rid of all at once by TCP."""
    asked = [each.number for each in before if " SO_SNDBUF" in each.step.text]
    same = kernel.result == direct.result or direct.state == BLOCKED
    at_once = not kernel.waited or kernel.finished_at in asked
    return bool(asked) and step.op == "sendall" and same and at_once


def told_once(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """What a sender that waits for room is told depends on buffers: whether others wait, and what was read of it."""
    senders = {each.step.actor for each in before if each.step.op in ("send", "sendall")}
    errors = {kernel.error, direct.error} == {errno.EPIPE, errno.ECONNRESET}
    read = any(each.step.op in ("recvall", "drain") for each in before)
    waited = bool(kernel.waited and direct.waited)
    if waited and step.op == "sendall" and {kernel.error, direct.error} == {errno.EBADF, errno.ECONNRESET}:
        return True  # its number was closed as well: which of the two its next write meets
    closed = any(each.step.op == "close" and each.step.args[0] == step.args[0] for each in before)
    if step.op == "sendall" and closed and kernel.state == BLOCKED and direct.error == errno.EBADF:
        return True  # the write that the close met had room, and the next one has no number
    replaced = any(each.step.op == "dup" and each.step.args[1] == step.args[0] for each in before)
    if step.op == "sendall" and replaced and errno.ECONNRESET in (kernel.error, direct.error):
        return True  # the same, where the number means another connection meanwhile
    return step.op == "sendall" and errors and waited and bool(read or senders - {step.actor})


def lost(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Bytes that a reset has lost are counted by the process that has written them."""
    return (
        " SIOCOUTQ " in step.text and direct.values[0] == 0 and any(each.step.op == "fork" for each in before)
    )
