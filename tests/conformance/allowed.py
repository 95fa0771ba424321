"""The differences that direct connections may have, each with its reason; everything else is a fault.

A difference that is allowed ends the comparison of its program: what follows may follow from it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.conformance.program import EVENTS, HOW, MSG, OPTIONS, THREADS, Step
from tests.conformance.trace import BLOCKED, DONE, ENDED, JUMPED, Outcome

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


@dataclass(frozen=True)
class Allowed:
    """A rule: which outcome of a step may stand in for that of the kernel, and why; it knows what came before."""

    reason: str
    holds: Callable[[Sequence[Past], Step, Outcome, Outcome], bool]


def _without(events: int, outcome: Outcome) -> list[int]:
    return [value & ~events for value in outcome.values]


def _told_without(events: int, step: Step, outcome: Outcome) -> list[int]:
    """What a poll or a wait has told but for these events; an epoll says nothing of descriptors without any."""
    if step.op != "epollwait":
        return _without(events, outcome)
    pairs = [outcome.values[2 * index : 2 * index + 2] for index in range(max(0, outcome.result))]
    return [value for slot, told in pairs if told & ~events for value in (slot, told & ~events)]


def _urgent(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    if step.op in ("poll", "epollwait"):
        return any(value & EVENTS["PRI"] for value in kernel.values)
    refused = direct.result == -1 and direct.error in (EOPNOTSUPP, EINVAL)
    return step.op in ("send", "recv") and bool(step.args[2] & OOB) and refused


def _signalled(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A signal came while calls filled the buffers: one that has sent some is followed by the next, else they end."""
    waits = BLOCKED in (kernel.state, direct.state)
    return step.op in AMOUNTS and waits and errno.EINTR in (kernel.error, direct.error)


def _closed_meanwhile(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A number was closed under calls that fill the buffers, and the connection was reset then.

    The call that it meets has sent some, and is followed by one on what has the number next; or it has sent none.
    """
    waits = BLOCKED in (kernel.state, direct.state)
    closed = any(each.step.op == "close" and each.step.args[0] == step.args[0] for each in before)
    error = kernel.error if direct.state == BLOCKED else direct.error
    return step.op in AMOUNTS and waits and closed and error in (errno.ECONNRESET, errno.EPIPE)


def _interrupted_by_urgent(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A receive ended where urgent data came; a direct connection has refused them."""
    ended_by = [each.step for each in before if each.number == kernel.finished_at and each.step.op == "send"]
    return step.op == "recv" and any(each.args[2] & OOB for each in ended_by)


def _unread_urgent(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A close with urgent data unread is a reset; a direct connection has refused them, and it is an end of file."""
    sent = any(each.step.op == "send" and each.step.args[2] & OOB for each in before)
    if not sent or direct.error:
        return False
    if step.op in ("poll", "epollwait"):
        ends = EVENTS["ERR"] | EVENTS["HUP"]
        return any(value & ends for value in kernel.values)
    return errno.ECONNRESET in (kernel.error, kernel.values[0])


def _judged(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """The kernel finds out that a buffer is bad when there is room for its bytes."""
    full = any(each.step.op in ("fill", "sendall") for each in before)
    return step.op == "badio" and full and kernel.state in (BLOCKED, ENDED) and direct.error == errno.EFAULT


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


def _jumped(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A handler jumped out of a call on a descriptor that is closed: the thread's next call tells the other end."""
    return any(each.kernel.result == JUMPED for each in before) and any(
        each.step.op == "close" for each in before
    )


def _closed_under_others(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A descriptor was closed under a thread that polls it or, past the library, that reads or writes.

    It is closed, too, when it becomes a copy of another.
    """
    for close in before:
        if close.step.op == "close":
            slot, how = close.step.args[:2]
        elif close.step.op == "dup" and HOW["dup"][close.step.args[2]] in ("dup2", "dup3"):
            slot, how = close.step.args[1], -1
        else:
            continue
        end = close.step.actor // 5
        for past in before:
            if past.step.actor // 5 != end or not past.blocks_at(close.number):
                continue
            if past.step.op == "poll" and slot in past.step.args[2::2]:
                return True
            moves = past.step.op in ("recv", "send", "badio", *AMOUNTS) and past.step.args[0] == slot
            if moves and how >= 0 and HOW["close"][how] == "kernel":
                return True
    return False


def _filled(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """What depends on how much the buffers hold: whether there is room, and whether a FIN, behind it all, has come."""
    if not any(each.step.op in ("fill", "sendall") for each in before):
        return False
    events = EVENTS["OUT"] | EVENTS["RDHUP"] | EVENTS["HUP"]
    # Bytes that come after a shutdown reset the connection, if they come.
    if any(each.step.op == "shutdown" for each in before):
        events |= EVENTS["ERR"]
    if step.op in ("poll", "epollwait"):
        return _told_without(events, step, kernel) == _told_without(events, step, direct)
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


def _fits(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Bytes that find no room at TCP's receiver make no edge there; here they may have room.

    Nor do they reset a connection whose receiver has shut both directions. A poll asks the epoll for the edge.
    """
    filled = any(each.step.op == "fill" for each in before)
    is_edge = any(each.step.op == "epollctl" and "ET" in each.step.text for each in before)
    asks = step.op in ("epollwait", "poll")
    return filled and is_edge and asks and kernel.result <= 0 < direct.result


def _has_room(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Who has asked for a large buffer gets rid of all at once by TCP."""
    asked = any(" SO_SNDBUF" in each.step.text for each in before)
    same = kernel.result == direct.result or direct.state == BLOCKED
    return asked and step.op == "sendall" and same and not kernel.waited


def _told_once(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
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


def _lost(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Bytes that a reset has lost are counted by the process that has written them."""
    return (
        " SIOCOUTQ " in step.text and direct.values[0] == 0 and any(each.step.op == "fork" for each in before)
    )


def _cloned(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Of a connection without an answer, an unseen clone leaves one process without the other end.

    What one of the two then sends, or ends, does not end a call of the other that waits for it.
    """
    if not any(each.step.op == "fork" and HOW["fork"][each.step.args[1]] == "clone" for each in before):
        return False
    if direct.state == BLOCKED and kernel.waited:
        ended_by = next((each.step for each in before if each.number == kernel.finished_at), step)
        if (ended_by.actor % 5 >= THREADS) != (step.actor % 5 >= THREADS):
            return True
    if step.op in ("poll", "epollwait"):  # select tells of a reset as of something to read
        ends = EVENTS["ERR"] | EVENTS["HUP"] | (EVENTS["IN"] if "select" in step.text else 0)
        return direct.state == BLOCKED or any(value & ends for value in direct.values)
    if " TCP_INFO " in step.text:
        return direct.values[0] == TCP_CLOSE
    if " FIONREAD " in f"{step.text} ":
        return direct.values[0] < kernel.values[0]
    lost = {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}
    ended = step.op == "recv" and kernel.state == BLOCKED and direct.result == 0
    return ended or bool(lost & {direct.error, direct.values[0]}) or _kept_by_clone(before, kernel, direct)


def _kept_by_clone(before: Sequence[Past], kernel: Outcome, direct: Outcome) -> bool:
    """A connection was closed under a call, and an unseen clone has it until that ends, or the clone does."""
    closes = [each.number for each in before if each.step.op == "close"]
    under = any(each.blocks_at(number) for each in before for number in closes)
    return under and kernel.error == errno.ENOTCONN and direct.result == 0


def _left_open(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An epoll still tells of a descriptor that is closed here, as another process, or a call, has the socket."""
    ops = {each.step.op for each in before}
    closes = [each.number for each in before if each.step.op == "close"]
    kept = "fork" in ops or any(each.blocks_at(number) for each in before for number in closes)
    asks = step.op in ("epollwait", "poll")
    less = kernel.result > direct.result or (direct.waited and not kernel.waited)
    return asks and kept and "epollctl" in ops and bool(closes) and bool(less)


def _told_next(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An epoll that waits and finds bytes in memory rarely asks for deaths: a later wait tells of them."""
    if step.op != "epollwait" or step.args[1] == 0:
        return False
    ends = EVENTS["ERR"] | EVENTS["HUP"] | EVENTS["RDHUP"]
    theirs, mine = _told(kernel), _told(direct)

    def is_later(slot: int) -> bool:
        events = theirs[slot]
        died = events & (EVENTS["ERR"] | EVENTS["HUP"])  # then it is readable because of that
        return mine.get(slot, 0) in (events, events & ~ends) or (bool(died) and slot not in mine)

    return direct.state == DONE and set(mine) <= set(theirs) and all(is_later(slot) for slot in theirs)


def _told(outcome: Outcome) -> dict[int, int]:
    """The events that an epoll has told of, by descriptor."""
    count = max(0, outcome.result)
    return {outcome.values[2 * index]: outcome.values[2 * index + 1] for index in range(min(count, 4))}


def _dropped(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Another thread has taken the connection away by connect(AF_UNSPEC): with which error the call ends.

    What another process has dropped can't be connected anew.
    """
    drops = [each.step for each in before if each.step.op == "connect" and each.step.args[1] == -1]
    others = any(each.actor != step.actor for each in drops) and any(
        each.step.op == "fork" for each in before
    )
    if step.op == "connect" and direct.error in (errno.EPIPE, errno.ECONNRESET, errno.EISCONN) and others:
        return True
    ended_by = [each.step.op for each in before if kernel.waited and each.number == kernel.finished_at]
    return ended_by == ["connect"] and kernel.finished_at == direct.finished_at


def _dropped_unread(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A connection was reset, and dropped by connect(AF_UNSPEC) before the program has asked for that error."""
    drops = any(each.step.op == "connect" and each.step.args[1] == -1 for each in before)
    error = EVENTS["ERR"]
    told = any(value & error for value in kernel.values)
    same = _told_without(error, step, kernel) == _told_without(error, step, direct)
    return drops and step.op in ("poll", "epollwait") and told and same


def _fired_before(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An EPOLLONESHOT entry that has fired while its socket was the kernel's, and the socket connects then."""
    once = any(each.step.op == "epollctl" and "ONESHOT" in each.step.text for each in before)
    connected = any(each.step.op == "connect" and each.kernel.result == 0 for each in before)
    more = kernel.state == BLOCKED or kernel.result < direct.result
    return step.op == "epollwait" and once and connected and more


def _low_water(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """The kernel wakes a receive for fewer bytes than SO_RCVLOWAT when there are as many, or never."""
    set_before = any(" SO_RCVLOWAT " in each.step.text for each in before)
    late = kernel.state == BLOCKED or (kernel.waited and kernel.result == direct.result)
    taken = direct.error == errno.EAGAIN and any(
        each.step.op == "recv" and (each.kernel.state == BLOCKED or each.kernel.waited) for each in before
    )
    waiting = any(each.step.op == "recv" and each.kernel.state == BLOCKED for each in before)
    left = waiting and kernel.state == BLOCKED and direct.result > 0  # the first of the two was not woken
    return set_before and step.op == "recv" and bool((late and direct.waited) or taken or left)


def _which_first(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """More is ready than the epoll's wait has room for: which is told of first."""
    return step.op == "epollwait" and kernel.result == direct.result == step.args[2] > 0


def _bound(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """How long a port stays in use after its connections: which end is left with TIME_WAIT, and when."""
    return (
        step.op == "bind"
        and errno.EADDRINUSE in (kernel.error, direct.error)
        and any(each.step.op in ENDINGS for each in before)
    )


def _empty(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """TCP ends a receive for no bytes at whatever wakes it, be it a shutdown of its own for sending."""
    first_is_empty = step.op == "recv" and step.args[1] == 1 and "recvmmsg" in step.text
    if first_is_empty:  # a signal that ends the first message's wait ends the second's
        return bool(kernel.waited) and kernel.result == 1
    return step.op == "recv" and step.args[1] == 0 and bool(kernel.waited and direct.waited)


def _gone_unseen(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A descriptor was closed past the library: reads, writes and polls do not ask, and an epoll hears of it twice.

    The connection ends at once, also where a thread of this process is in a call on it. The other end hears of it by
    TCP, and asks from time to time: a moment later than its next call may come.
    """
    closes = [
        each for each in before if each.step.op == "close" and HOW["close"][each.step.args[1]] == "kernel"
    ]
    if not closes:
        return False
    if direct.waited and direct.finished_at in [each.number for each in closes]:
        return True
    relayed = direct.state == BLOCKED and any(each.step.op == "give" for each in before)
    # It began before the connection went on through a relay, which has the TCP socket now; or it counts what is lost.
    if relayed or " SIOCOUTQ " in step.text:
        return True
    ends = (errno.EPIPE, errno.ECONNRESET)
    if step.op in ("poll", "epollwait"):
        told = EVENTS["ERR"] | EVENTS["HUP"] | EVENTS["RDHUP"] | EVENTS["IN"]
        other = any(value & told for value in direct.values) and not _told_without(told, step, direct)
        return (
            kernel.result < direct.result or other or any(value & EVENTS["NVAL"] for value in kernel.values)
        )
    if errno.EBADF in (kernel.error, kernel.values[0] if step.op in AMOUNTS else 0):
        return True
    # What a connection says that has not heard of it yet.
    lives = direct.error in (errno.EAGAIN, errno.EFAULT)
    late = kernel.error in (0, *ends) and (kernel.result < direct.result or lives)
    return step.op in ("send", "recv", "badio", *AMOUNTS) and (late or direct.error in ends)


def _raced(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
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


def _shared(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Two threads wait to receive, and bytes wake both: which of them has them."""
    waits = step.op == "recv" and bool(kernel.waited and direct.waited)
    numbers = {kernel.finished_at, direct.finished_at}
    others = any(
        each.step.op == "recv"
        and each.step.actor != step.actor
        and each.kernel.waited
        and (each.kernel.state == BLOCKED or each.kernel.finished_at in numbers)
        for each in before
    )
    return waits and others and not kernel.error and not direct.error


def _peeked(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A peek that waits for more keeps what it has seen, or not, while another thread takes those bytes."""
    peeks = step.op == "recv" and bool(step.args[2] & MSG["PEEK"]) and bool(kernel.waited and direct.waited)
    others = any(each.step.op in ("recv", *AMOUNTS) and each.step.actor != step.actor for each in before)
    return peeks and others and kernel.result > 0 and direct.result > 0


def _timed_out(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A call with a time-out blocks for as long as the rest of the program takes, or longer; or it is done before."""
    limited = any(f" SO_{way}TIMEO " in each.step.text for each in before for way in ("RCV", "SND"))
    longer = kernel.state == BLOCKED and bool(direct.waited)
    return limited and direct.error == errno.EAGAIN and (longer or kernel.error == errno.EAGAIN)


def _rerouted(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An option such as IP_TOS makes the kernel look for the route anew, which it does with the next packet.

    Until then it knows no MTU, and keeps the one it had when the connection has ended. A direct connection sends no
    packet: it has the MTU of the route that it would get, and none without a connection.
    """
    asks = step.op == "getsockopt" and OPTIONS[step.args[1]] in ("IP_MTU", "IPV6_MTU")
    changed = any(each.step.op == "setsockopt" and each.kernel.result == 0 for each in before)
    return asks and changed and errno.ENOTCONN in (kernel.error, direct.error)


def _edge_of_relay(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """Who watches edges has read all before the next one; a relay's end lends no further bytes until then."""
    passed_on = any(each.step.op in ("give", "take", "exec") or step_execs(each.step) for each in before)
    edges = any(each.step.op == "epollctl" and "ET" in each.step.text for each in before)
    return step.op == "epollwait" and passed_on and edges and direct.state == BLOCKED and kernel.state == DONE


RULES = [
    Allowed("direct-sockets.md: MSG_MORE and TCP_CORK hold nothing back, so bytes come sooner", _held),
    Allowed(
        "direct-sockets.md: a listener with TCP_DEFER_ACCEPT gets a connection when its client, after its first"
        " write, calls the library again; the next ones come at once",
        _deferred,
    ),
    Allowed("direct-sockets.md: a relay's end is a Unix socket", _relayed),
    Allowed(
        "direct-sockets.md: an edge of a relay's end needs that what came before was read", _edge_of_relay
    ),
    Allowed("direct-sockets.md, known faults: a close under a call that was left by a jump", _jumped),
    Allowed("direct-sockets.md: a close is not put off for the threads that poll", _closed_under_others),
    Allowed("direct-sockets.md: buffers hold other amounts than the kernel's", _filled),
    Allowed("direct-sockets.md: buffers hold other amounts, so a signal meets another call", _signalled),
    Allowed(
        "direct-sockets.md: buffers hold other amounts, so a close meets another call", _closed_meanwhile
    ),
    Allowed("direct-sockets.md: buffers hold other amounts, so more bytes make an edge", _fits),
    Allowed("direct-sockets.md: buffers hold other amounts, whatever SO_SNDBUF asks for", _has_room),
    Allowed("direct-sockets.md: buffers hold other amounts, so another call waits for room", _told_once),
    Allowed("direct-sockets.md: bytes that a reset has lost, seen by another process", _lost),
    Allowed("what epoll leaves open: which of several ready descriptors is told of first", _which_first),
    Allowed("direct-sockets.md: what was closed past the library is not asked for", _gone_unseen),
    Allowed("direct-sockets.md, known faults: a clone past the library", _cloned),
    Allowed("direct-sockets.md: an epoll forgets a number that is closed", _left_open),
    Allowed("direct-sockets.md: an epoll with bytes to report tells of a death at a later wait", _told_next),
    Allowed("direct-sockets.md: the error of a call whose connection another thread drops", _dropped),
    Allowed(
        "direct-sockets.md: an error that was not asked for goes with a dropped connection", _dropped_unread
    ),
    Allowed("direct-sockets.md, known faults: EPOLLONESHOT that has fired before", _fired_before),
    Allowed("what TCP leaves open: when SO_RCVLOWAT wakes who asks for less", _low_water),
    Allowed("what TCP leaves open: how long a port stays in use", _bound),
    Allowed("what TCP leaves open: when a receive for no bytes ends", _empty),
    Allowed("what TCP leaves open: which of two waiting threads is first", _raced),
    Allowed("what TCP leaves open: which of two waiting receives has the bytes", _shared),
    Allowed("what TCP leaves open: what a waiting peek sees of bytes that another thread takes", _peeked),
    Allowed("how long a program takes: whether a time-out ends within it", _timed_out),
    Allowed("what the kernel leaves open: from when on it knows the MTU of a new route", _rerouted),
    Allowed(
        "direct-sockets.md: urgent data are not carried; sending them fails, and so does receiving them",
        _urgent,
    ),
    Allowed("direct-sockets.md: urgent data are not carried, so they end no receive", _interrupted_by_urgent),
    Allowed("direct-sockets.md: urgent data are not carried, so a close leaves none unread", _unread_urgent),
    Allowed("direct-sockets.md: a bad pointer is refused at once", _judged),
]


def reason(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> str | None:
    """Why this difference is allowed; None when it is a fault."""
    return next((rule.reason for rule in RULES if rule.holds(before, step, kernel, direct)), None)
