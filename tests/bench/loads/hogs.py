"""Other programs on the machine while something is measured: those that compute, always or half of the time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

ALWAYS = ["sh", "-c", "while :; do :; done"]

HALF_PERIOD = 0.005
"""Seconds that the half-busy program computes, and then waits for its timer."""
HALF_OF_THE_TIME = f"""
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
signal.setitimer(signal.ITIMER_REAL, {2 * HALF_PERIOD}, {2 * HALF_PERIOD})
while signal.sigwait([signal.SIGALRM]):
    end = time.monotonic() + {HALF_PERIOD}
    while time.monotonic() < end:
        pass
"""


@contextmanager
def _beside(command: Sequence[str], count: int) -> Iterator[None]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def hogs(count: int | None = None) -> Iterator[None]:
    """So many programs that compute, by default one for each CPU."""
    with _beside(ALWAYS, count or len(os.sched_getaffinity(0))):
        yield


@contextmanager
def half_busy() -> Iterator[None]:
    """One program that computes half of the time, on whichever CPU the kernel puts it."""
    with _beside([sys.executable, "-c", HALF_OF_THE_TIME], 1):
        yield
