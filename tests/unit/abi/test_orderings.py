"""The orderings of barrier.h, and the rules of sleeping and waking that stand on them, in every order of events.

Each program is what a row of the table in cext/abi/barrier.h says, with the operations of the functions named in it.
With all its fences nothing goes wrong in any execution; without any one of them something does, so none is there for
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.framework.datapath.orderings import Fence, Loads, Program, Store, Thread, load, outcomes

Check = Callable[[dict[str, int], dict[str, int]], bool]

FENCES = {
    "record": ("release", "acquire"),
    "wake": ("producer", "consumer"),
    "room": ("consumer", "producer"),
    "directory": ("odd first", "even last", "acquire", "again last"),
    "command": ("release", "acquire"),
    "armed": ("writer", "waiter"),
}


def record(kept: set[str]) -> Program:
    """tx_publish_to and rx_ready: who sees the cursor sees the record before it."""

    def producer() -> Thread:
        yield Store("record", 1)
        yield Store("head", 1, release="release" in kept)

    def consumer(notes: dict[str, int]) -> Thread:
        if "acquire" in kept:
            (notes["head"],) = yield load("head")
            (notes["record"],) = yield load("record")
        else:
            notes["head"], notes["record"] = yield Loads(("head", "record"))

    return lambda notes: [producer(), consumer(notes)]


def is_whole(notes: dict[str, int], memory: dict[str, int]) -> bool:
    return not notes["head"] or bool(notes["record"])


def sleeper(notes: dict[str, int], wish: str, cursor: str, fence: bool) -> Thread:
    """rx_arm or tx_arm: says what to be woken for, looks once more, and sleeps when there is nothing."""
    yield Store(wish, 1)
    if fence:
        yield Fence()
    (seen,) = yield load(cursor)
    notes["asleep"] = int(not seen)


def waker(notes: dict[str, int], wish: str, cursor: str, fence: bool) -> Thread:
    """tx_publish_to or rx_publish: moves the cursor, and rings where that is wished for."""
    yield Store(cursor, 1, release=True)
    if fence:
        yield Fence()
    (wished,) = yield load(wish)
    notes["rung"] = wished


def wake(kept: set[str]) -> Program:
    return lambda notes: [
        waker(notes, "wake_at", "head", "producer" in kept),
        sleeper(notes, "wake_at", "head", "consumer" in kept),
    ]


def room(kept: set[str]) -> Program:
    return lambda notes: [
        waker(notes, "want_room", "tail", "consumer" in kept),
        sleeper(notes, "want_room", "tail", "producer" in kept),
    ]


def armed(kept: set[str]) -> Program:
    """doorbell_ring_if_armed and doorbell_arm of the preload library: the same pattern, on its own words."""
    return lambda notes: [
        waker(notes, "armed", "stream", "writer" in kept),
        sleeper(notes, "armed", "stream", "waiter" in kept),
    ]


def is_woken(notes: dict[str, int], memory: dict[str, int]) -> bool:
    return not notes["asleep"] or bool(notes["rung"])


def directory(kept: set[str]) -> Program:
    """Writer.put and read_directory: a reader that finds the same even version twice has read one state."""

    def host() -> Thread:
        yield Store("version", 1)
        if "odd first" in kept:
            yield Fence()
        yield Store("mac", 1)
        yield Store("state", 1)
        yield Store("version", 2, release="even last" in kept)

    def reader(notes: dict[str, int]) -> Thread:
        names: tuple[str, ...] = ("mac", "state")
        if "acquire" in kept:
            (before,) = yield load("version")
            notes["mac"], notes["state"] = yield Loads(names)
        else:
            before, notes["mac"], notes["state"] = yield Loads(("version", *names))
        (after,) = yield load("version")
        notes["taken"] = int(before == after and not before & 1)

    def early_reader(notes: dict[str, int]) -> Thread:
        (before,) = yield load("version")
        after, notes["mac"], notes["state"] = yield Loads(("version", "mac", "state"))
        notes["taken"] = int(before == after and not before & 1)

    return lambda notes: [host(), reader(notes) if "again last" in kept else early_reader(notes)]


def is_one_state(notes: dict[str, int], memory: dict[str, int]) -> bool:
    return not notes["taken"] or notes["mac"] == notes["state"]


def command(kept: set[str]) -> Program:
    """Loop._command and run_loop: who sees the number sees the command."""

    def control() -> Thread:
        yield Store("kind", 1)
        yield Store("port", 1)
        yield Store("seq", 1, release="release" in kept)

    def loop(notes: dict[str, int]) -> Thread:
        if "acquire" in kept:
            (notes["head"],) = yield load("seq")
            kind, port = yield Loads(("kind", "port"))
        else:
            notes["head"], kind, port = yield Loads(("seq", "kind", "port"))
        notes["record"] = int(kind and port)

    return lambda notes: [control(), loop(notes)]


PROGRAMS: dict[str, tuple[Callable[[set[str]], Program], Check]] = {
    "record": (record, is_whole),
    "wake": (wake, is_woken),
    "room": (room, is_woken),
    "directory": (directory, is_one_state),
    "command": (command, is_whole),
    "armed": (armed, is_woken),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_goes_wrong_in_any_order(name: str) -> None:
    make, check = PROGRAMS[name]
    count = 0
    for notes, memory in outcomes(make(set(FENCES[name]))):
        assert check(notes, memory), notes
        count += 1
    assert count > 5


@pytest.mark.parametrize(("name", "fence"), [(name, fence) for name in PROGRAMS for fence in FENCES[name]])
def test_no_fence_is_there_for_nothing(name: str, fence: str) -> None:
    make, check = PROGRAMS[name]
    assert not all(check(*outcome) for outcome in outcomes(make({*FENCES[name]} - {fence})))
