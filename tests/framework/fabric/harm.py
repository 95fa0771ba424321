"""Ways in which a daemon comes to harm: killed, terminated, stopped for a while, out of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.framework.waiting import holds_for, wait_until

STOPPED = 5.0
"""Seconds that a stopped daemon stays so."""

GONE_WITHIN = 10.0

HOG = "b = []\nwhile True: b.append(bytearray(1 << 20))"

LIMIT = 24 << 20


def is_alive(pid: int) -> bool:
    """Whether there is such a process that has not ended; one that its parent has not heard of yet has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: not is_alive(pid), GONE_WITHIN, f"process {pid} is gone")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def terminate(pid: int) -> None:
    """A stopped process takes the signal once it goes on."""
    os.kill(pid, signal.SIGTERM)
    with suppress(ProcessLookupError):  # it was not stopped, and has ended
        os.kill(pid, signal.SIGCONT)
    wait_until_gone(pid)


def stop_a_while(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        holds_for(lambda: is_alive(pid), STOPPED, f"process {pid} is stopped")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def run_out_of_memory(pid: int) -> None:
    """The kernel kills it because its control group has no memory left: another process there takes all."""
    with _group() as group:
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        (group / "cgroup.procs").write_text(str(pid))
        enter = 'echo $$ >"$0"; exec "$@"'
        argv = ["sh", "-c", enter, str(group / "cgroup.procs"), sys.executable, "-c", HOG]
        hogs = [subprocess.Popen(argv)]

        def is_gone() -> bool:
            # The kernel may have killed it instead: a process that execs has no memory to give.
            if hogs[-1].poll() is not None:
                hogs.append(subprocess.Popen(argv))
            return not is_alive(pid)

        try:
            wait_until(is_gone, GONE_WITHIN, f"process {pid} is gone")
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        assert _kills(group), f"process {pid} ended, but not for want of memory"


@contextmanager
def _group() -> Iterator[Path]:
    """A control group for memory with a small limit: of version 2 where that has the controller, else of version 1."""
    base = Path("/sys/fs/cgroup")
    if "memory" in _words(base / "cgroup.controllers"):
        limit = "memory.max"
        if "memory" not in _words(base / "cgroup.subtree_control"):
            (base / "cgroup.subtree_control").write_text("+memory")
    elif (base / "memory/memory.limit_in_bytes").exists():
        base, limit = base / "memory", "memory.limit_in_bytes"
    else:
        pytest.skip("no control group for memory can be made here")
    group = base / f"vnicd-oom-{os.getpid()}-{next(_numbers)}"
    group.mkdir()
    try:
        (group / limit).write_text(str(LIMIT))
        yield group
    finally:
        wait_until(lambda: _is_cleared(group), GONE_WITHIN, "the group is empty")


def _is_cleared(group: Path) -> bool:
    """Removes a group; what its victim has started goes to the group above."""
    for pid in _words(group / "cgroup.procs"):
        with suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    try:
        group.rmdir()
    except OSError:
        return False  # somebody is still dying in it
    return True


_numbers = iter(range(1 << 30))


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _kills(group: Path) -> int:
    """How often the kernel has killed for want of memory in a group."""
    for name in ("memory.events", "memory.oom_control"):
        words = _words(group / name)
        if "oom_kill" in words:
            return int(words[words.index("oom_kill") + 1])
    return 0


Harm = Callable[[int], None]
HARMS: dict[str, Harm] = {
    "kill": kill,
    "terminate": terminate,
    "out of memory": run_out_of_memory,
    "stop": stop_a_while,
}
"""All but the last end it."""


def in_order(places: Sequence[str]) -> list[tuple[str, str]]:
    """Cells, as place and harm, to run side by side: the longest first, and of the others no two of a kind together."""
    cells = [(place, harm) for place in places for harm in HARMS]
    return sorted(cells, key=lambda cell: cell[1] != "stop")
