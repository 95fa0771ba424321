"""How connections end: closes and deaths, and what is told of them."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from tests.conformance.allowed.past import AMOUNTS, TCP_CLOSE, Past, told_without
from tests.conformance.program import EVENTS, HOW, THREADS, Step
from tests.conformance.trace import BLOCKED, DONE, JUMPED, Outcome


def jumped(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A handler jumped out of a call on a descriptor that is closed: the thread's next call tells the other end."""
    return any(each.kernel.result == JUMPED for each in before) and any(
        each.step.op == "close" for each in before
    )


def closed_under_others(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
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


def gone_unseen(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
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
        other = any(value & told for value in direct.values) and not told_without(told, step, direct)
        return (
            kernel.result < direct.result or other or any(value & EVENTS["NVAL"] for value in kernel.values)
        )
    if errno.EBADF in (kernel.error, kernel.values[0] if step.op in AMOUNTS else 0):
        return True
    # What a connection says that has not heard of it yet.
    lives = direct.error in (errno.EAGAIN, errno.EFAULT)
    late = kernel.error in (0, *ends) and (kernel.result < direct.result or lives)
    return step.op in ("send", "recv", "badio", *AMOUNTS) and (late or direct.error in ends)


def cloned(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
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
    return ended or bool(lost & {direct.error, direct.values[0]}) or kept_by_clone(before, kernel, direct)


def kept_by_clone(before: Sequence[Past], kernel: Outcome, direct: Outcome) -> bool:
    """A connection was closed under a call, and an unseen clone has it until that ends, or the clone does."""
    closes = [each.number for each in before if each.step.op == "close"]
    under = any(each.blocks_at(number) for each in before for number in closes)
    return under and kernel.error == errno.ENOTCONN and direct.result == 0


def left_open(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An epoll still tells of a descriptor that is closed here, as another process, or a call, has the socket."""
    ops = {each.step.op for each in before}
    closes = [each.number for each in before if each.step.op == "close"]
    kept = "fork" in ops or any(each.blocks_at(number) for each in before for number in closes)
    asks = step.op in ("epollwait", "poll")
    less = kernel.result > direct.result or (direct.waited and not kernel.waited)
    return asks and kept and "epollctl" in ops and bool(closes) and bool(less)


def told_next(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """An epoll that waits and finds bytes in memory rarely asks for deaths: a later wait tells of them."""
    if step.op != "epollwait" or step.args[1] == 0:
        return False
    ends = EVENTS["ERR"] | EVENTS["HUP"] | EVENTS["RDHUP"]
    theirs, mine = told(kernel), told(direct)

    def is_later(slot: int) -> bool:
        events = theirs[slot]
        died = events & (EVENTS["ERR"] | EVENTS["HUP"])  # then it is readable because of that
        return mine.get(slot, 0) in (events, events & ~ends) or (bool(died) and slot not in mine)

    return direct.state == DONE and set(mine) <= set(theirs) and all(is_later(slot) for slot in theirs)


def told(outcome: Outcome) -> dict[int, int]:
    """The events that an epoll has told of, by descriptor."""
    count = max(0, outcome.result)
    return {outcome.values[2 * index]: outcome.values[2 * index + 1] for index in range(min(count, 4))}


def dropped(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
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


def dropped_unread(before: Sequence[Past], step: Step, kernel: Outcome, direct: Outcome) -> bool:
    """A connection was reset, and dropped by connect(AF_UNSPEC) before the program has asked for that error."""
    drops = any(each.step.op == "connect" and each.step.args[1] == -1 for each in before)
    error = EVENTS["ERR"]
    told = any(value & error for value in kernel.values)
    same = told_without(error, step, kernel) == told_without(error, step, direct)
    return drops and step.op in ("poll", "epollwait") and told and same
