"""The only place where tests wait: for a condition, for output, for the next turn of a steady pace."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import IO, TypeVar

T = TypeVar("T")

_never = Event()


def wait_until(condition: Callable[[], T], timeout: float, what: str) -> T:
    """The first true value of `condition`; AssertionError naming `what` when there is none in time."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        late = time.monotonic() >= deadline
        value = condition()
        if value:
            return value
        assert not late, f"not within {timeout:g} s: {what} (last seen: {value!r})"
        _never.wait(pause)
        pause = min(pause * 1.5, 0.1)


def stretched(seconds: float) -> float:
    """A limit that is right for a quiet machine, as many times as long as its CPUs have more work than they can do."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def is_overloaded() -> bool:
    """Whether the machine had more work in the last minute than its CPUs can do."""
    return stretched(1.0) > 1.0


def is_bearable(lost: int, of: int) -> bool:
    """None is lost; or less than a tenth where the CPUs have three times as much work as they can do.

    There a program may get no CPU for longer than vnicd waits for room in its ring, and frames for it are dropped.
    """
    return lost == 0 or (stretched(1.0) > 3 and lost < of / 10)


def while_unready(act: Callable[[], T], sign: str, timeout: float = 10) -> T:
    """What `act` returns, tried anew as long as it fails with a text that has `sign` in it.

    For servers that make their listener anew between two clients, as iperf3 does: who comes in between is refused.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return act()
        except AssertionError as error:
            if sign not in str(error) or time.monotonic() >= deadline:
                raise
        _never.wait(0.05)


def holds_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Fails as soon as `condition` is false within the next `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not hold for {seconds:g} s: {what}"
        _never.wait(0.02)


def wait_for_output(stream: IO[bytes], text: bytes, timeout: float) -> bytes:
    """Reads an unbuffered pipe until `text` was in it; returns all that was read."""
    deadline = time.monotonic() + timeout
    seen = b""
    while text not in seen:
        left = deadline - time.monotonic()
        ready = left > 0 and select.select([stream], [], [], left)[0]
        assert ready, f"no {text!r} within {timeout:g} s, only {seen!r}"
        chunk = stream.read(4096)
        assert chunk, f"the output ended without {text!r}: {seen!r}"
        seen += chunk
    return seen


def pace(per_second: float, seconds: float) -> Iterator[int]:
    """The numbers 0, 1, 2.. at a steady rate for some seconds; late ones follow at once."""
    start = time.monotonic()
    for number in range(round(per_second * seconds)):
        ahead = start + number / per_second - time.monotonic()
        if ahead > 0.0005:
            _never.wait(ahead)
        yield number


def is_stopped(pid: int) -> bool:
    """Whether none of a process's threads runs any more after SIGSTOP, which is told to one after the other."""
    stats = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rsplit(")", 1)[1].split()[0] == "T" for stat in stats)
