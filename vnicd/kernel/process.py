"""Processes told apart for certain: a pid with its start time, and a pidfd to watch and signal it by."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path


def start_time(pid: int) -> int | None:
    """When process `pid` was started, in clock ticks since boot; None when there is no such process (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == b"Z" else int(fields[19])


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
