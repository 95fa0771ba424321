"""What a process can do to another one, and how it uses up what the kernel counts by user: a program of its own.

neighbour.py reach PID    tries all of it, and prints as JSON how each try ended
neighbour.py hoard        sends descriptors until it may not, says how that ended, and waits for its input's end
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

PTRACE_SEIZE, PIDFD_GETFD, SCM_MAX_FD = 0x4206, 438, 253

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


TRIES: dict[str, Callable[[int], object]] = {
    "kill": lambda pid: os.kill(pid, 0),
    "pidfd": lambda pid: signal.pidfd_send_signal(os.pidfd_open(pid), 0),
    "ptrace": lambda pid: _checked(_libc.ptrace(PTRACE_SEIZE, pid, None, None)),
    "memory": lambda pid: Path(f"/proc/{pid}/mem").open("rb").close(),
    "descriptors": lambda pid: list(Path(f"/proc/{pid}/fd").iterdir()),
    "descriptor": lambda pid: _checked(_libc.syscall(PIDFD_GETFD, os.pidfd_open(pid), 0, 0)),
    "limits": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE),
    "priority": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)),
    "cpus": lambda pid: os.sched_setaffinity(pid, os.sched_getaffinity(pid)),
}
"""Each leaves the other as it is, should it be possible."""

DENIED = {"EPERM", "EACCES", "ESRCH"}


def outcome(attempt: Callable[[int], object], pid: int) -> str:
    """The name of the error; "done" when there was none."""
    try:
        attempt(pid)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def reach(pid: str) -> None:
    print(json.dumps({name: outcome(attempt, int(pid)) for name, attempt in TRIES.items()}))


def hoard() -> None:
    """The kernel counts them by user, and lets a process send until they are as many as it may have open."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sockets, count, why = [], 0, ""
    while not why:
        one, other = socket.socketpair()
        one.setblocking(False)
        sockets += [one, other]
        try:
            while True:
                socket.send_fds(one, [b"\1"], [0] * SCM_MAX_FD)
                count += SCM_MAX_FD
        except BlockingIOError:
            continue
        except OSError as error:
            why = errno.errorcode[error.errno or 0]
    print(why, count, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "reach":
        reach(sys.argv[2])
    else:
        hoard()
