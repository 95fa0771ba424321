"""One thread of another process, held still while its other threads go on."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def second_thread(pid: int) -> int:
    """The id of the only thread beside the main one."""
    (thread,) = {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()} - {pid}
    return thread


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def held(pid: int, thread: int) -> Iterator[None]:
    """Thread `thread` of process `pid` is stopped; afterwards the process is dead in any case."""
    stopped = Event()

    def hold() -> None:
        """A thread is waited for by the one that traces it."""
        try:
            _ptrace(PTRACE_SEIZE, thread)
            _ptrace(PTRACE_INTERRUPT, thread)
            while os.WIFSTOPPED(os.waitpid(thread, WALL)[1]):
                stopped.set()
        finally:
            stopped.set()

    with ThreadPoolExecutor(1) as pool:
        tracer = pool.submit(hold)
        try:
            stopped.wait()
            assert not tracer.done(), f"thread {thread} cannot be held: {tracer.exception()}"
            yield
        finally:
            if not tracer.done():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            tracer.result(10)
