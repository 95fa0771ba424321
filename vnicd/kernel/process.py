"""Processes told apart for certain: a pid with its start time, and a pidfd to watch and signal it by."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path


def start_time(pid: int) -> int | None:
    """When process `pid` was started, in clock ticks since boot; None when there is no such process (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == b"Z" else int(fields[19])


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal or a debugger."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"T", b"t")


def open_process(pid: int, started: int) -> int | None:
    """A pidfd of the process that had `pid` and this start time, None when it is gone."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if start_time(pid) == started:
        return fd
    os.close(fd)
    return None


def pids() -> list[int]:
    """All processes, the oldest first as far as numbers tell."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208 - often asked


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """All processes, with the words that they were started with, but for empty ones at the end."""
    for pid in pids():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        yield pid, [os.fsdecode(word) for word in line.rstrip(b"\0").split(b"\0")]


def user(pid: int) -> int | None:
    """The effective user of a process, None when it has ended. /proc/PID is root's where it gave up privileges."""
    try:
        lines = Path(f"/proc/{pid}/status").read_bytes().split(b"\n")
    except OSError:
        return None
    return next((int(line.split()[2]) for line in lines if line.startswith(b"Uid:")), None)


def variable(pid: int, name: str) -> str:
    """A variable of the environment that a process was started with; empty when there is none."""
    start = os.fsencode(f"{name}=")
    items = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((os.fsdecode(item[len(start) :]) for item in items if item.startswith(start)), "")


def shares_root(pid: int) -> bool:
    """Whether a process sees the same files as we do; one in a container does not."""
    return Path(f"/proc/{pid}/root").samefile("/")


def inhabitants(namespace: tuple[int, int] | None) -> list[int]:
    """Processes in a network namespace, by its identity (netns.py)."""
    found = []
    for pid in pids():
        try:
            place = Path(f"/proc/{pid}/ns/net").stat()
        except OSError:
            continue
        if (place.st_dev, place.st_ino) == namespace:
            found.append(pid)
    return found


def path_into(path: str, inode: int | None) -> str:
    """A path into the network namespace that was attached by this one; empty when none leads there.

    The path may lead to a stranger's by now. `inode` is the namespace's; None when it is known by its path alone.
    """
    if inode is None:
        return path
    for each in (path, *(f"/proc/{pid}/ns/net" for pid in pids())):
        try:
            if os.stat(each).st_ino == inode:  # noqa: PTH116 - asked of every process
                return each
        except OSError:
            continue
    return ""


def end(pidfd: int, grace: float) -> None:
    """SIGTERM, and SIGKILL after `grace` seconds (or at once for 0); returns when the process has ended."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        if number == signal.SIGTERM and grace <= 0:
            continue
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if poller.poll(patience * 1000):
            return
