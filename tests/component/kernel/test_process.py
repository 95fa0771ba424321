"""Processes told apart for certain: start times, pidfds of the right process only, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.framework.waiting import wait_for_output, wait_until
from vnicd.kernel import process

Start = Callable[..., subprocess.Popen[bytes]]

QUIET = "print('ready', flush=True); import sys; sys.stdin.read()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + QUIET
NAMED = "import sys; open('/proc/self/comm', 'wb').write(eval(sys.argv[1]));" + QUIET


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python programs that wait for the end of their input; they are ended after the test."""
    with ExitStack() as stack:

        def run(source: str, *words: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-S", "-c", source, *words]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
            stack.enter_context(child)
            stack.callback(child.kill)
            assert child.stdout is not None
            wait_for_output(child.stdout, b"ready", 10)
            return child

        yield run


@pytest.fixture
def opened() -> Iterator[Callable[[int], int]]:
    """Opens a pidfd that is closed after the test."""
    with ExitStack() as stack:

        def open_it(pid: int) -> int:
            fd = os.pidfd_open(pid)
            stack.callback(os.close, fd)
            return fd

        yield open_it


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_dead(pid: int) -> bool:
    return process.start_time(pid) is None


def test_a_start_time_stays_and_differs_from_an_earlier_one(start: Start) -> None:
    mine, child = process.start_time(os.getpid()), start(QUIET)
    assert mine is not None
    assert process.start_time(os.getpid()) == mine
    later = process.start_time(child.pid)
    assert later is not None and later >= mine


def test_the_dead_and_zombies_have_no_start_time(start: Start) -> None:
    child = start(QUIET)
    child.kill()
    wait_until(lambda: is_dead(child.pid), 5, "the zombie counts as gone")
    child.wait()
    assert process.start_time(child.pid) is None


@pytest.mark.parametrize("name", [b"a b", b"a) R 1 2 3", b"((", b"\n\t"])
def test_a_process_may_have_any_name(start: Start, name: bytes) -> None:
    child = start(NAMED, repr(name))
    plain = start(QUIET)
    started = process.start_time(child.pid)
    assert started is not None
    assert abs(started - (process.start_time(plain.pid) or 0)) < 1000


def test_a_process_may_have_a_name_that_is_no_text(start: Start) -> None:
    """The pid in state.json can by now be anybody's; its name is up to 15 bytes of whatever it likes."""
    child = start(NAMED, repr(b"\xff\xfe\x80"))
    assert process.start_time(child.pid) is not None


def test_only_the_right_process_is_opened(start: Start) -> None:
    before = open_fds()
    started = process.start_time(os.getpid())
    assert started is not None
    fd = process.open_process(os.getpid(), started)
    assert fd is not None
    os.close(fd)
    assert process.open_process(os.getpid(), started + 1) is None, "the pid was given to another"
    for nobody in (0, -1, 2**22 + 1):
        assert process.open_process(nobody, 1) is None
    assert open_fds() == before
    child = start(QUIET)
    started = process.start_time(child.pid)
    assert started is not None
    child.kill()
    child.wait()
    assert process.open_process(child.pid, started) is None


def test_a_process_is_asked_first(start: Start, opened: Callable[[int], int]) -> None:
    child = start(QUIET)
    process.end(opened(child.pid), grace=5)
    assert child.wait() == -signal.SIGTERM


def test_a_process_that_does_not_listen_is_killed(start: Start, opened: Callable[[int], int]) -> None:
    child = start(STUBBORN)
    process.end(opened(child.pid), grace=0.05)
    assert child.wait() == -signal.SIGKILL


def test_a_process_that_is_stopped_is_killed(start: Start, opened: Callable[[int], int]) -> None:
    child = start(QUIET)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: " T " in Path(f"/proc/{child.pid}/stat").read_text(), 5, "it has stopped")
    process.end(opened(child.pid), grace=0.05)
    assert child.wait() == -signal.SIGKILL


def test_without_grace_it_is_killed_at_once(start: Start, opened: Callable[[int], int]) -> None:
    child = start(QUIET)
    process.end(opened(child.pid), grace=0)
    assert child.wait() == -signal.SIGKILL


def test_the_end_of_what_has_ended_is_no_error(start: Start, opened: Callable[[int], int]) -> None:
    child = start(QUIET)
    fd = opened(child.pid)
    process.end(fd, grace=5)
    process.end(fd, grace=5)
    child.wait()
    process.end(fd, grace=5)
