"""Processes of the cells: names, parents, descriptors, and their end with all that they started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.framework.waiting import wait_until

END_TIMEOUT_S = 15


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def with_descendants(pids: Iterable[int]) -> list[int]:
    """The processes, and then all that they started: those may have left for a namespace of their own."""
    parents = {int(path.name): parent_of(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    found = list(pids)
    while more := [each for each, parent in parents.items() if parent in found and each not in found]:
        found += more
    return found


def kill_tree(pid: int) -> None:
    """SIGKILL to a program and to all that it started; their sockets are closed when this returns.

    It is stopped first, and killed before its children: a master would replace a worker that it sees die.
    """
    kill(pid, signal.SIGSTOP)
    doomed = with_descendants([pid])
    for each in doomed:
        kill(each)
    wait_until(lambda: all(has_ended(each) for each in doomed), END_TIMEOUT_S, "killed programs have ended")


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that only its parent still has to see."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def with_variable(text: str) -> set[int]:
    """The processes that were started with an environment variable, given as NAME=VALUE."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if text.encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return found


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def sockets_of(pid: int) -> int:
    """How many descriptors of sockets a process has."""
    count = 0
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                count += str(entry.readlink()).startswith("socket:")
    return count
