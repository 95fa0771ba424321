"""The claim on the hugepage limit in several processes: at the same time, and after one was killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.framework.waiting import wait_for_output
from vnicd.kernel.limits.hugepages import Overcommit
from vnicd.native.memory import HUGE_PAGE

MOST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // HUGE_PAGE // 2


def value(limit: Path) -> int:
    return int(limit.read_text())


class Process:
    """Another hosting daemon, as far as its claim goes."""

    def __init__(self, limit: Path, ledger: Path) -> None:
        words = [sys.executable, "-m", "tests.framework.programs.holder", str(limit), str(ledger)]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def do(self, word: str) -> None:
        self.start(word)
        self.await_done(word)

    def start(self, word: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(word.encode() + b"\n")

    def await_done(self, word: str) -> None:
        assert self.child.stdout is not None
        wait_for_output(self.child.stdout, f"done {word}\n".encode(), 10)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def another(limit: Path, ledger: Path) -> Iterator[Callable[[], Process]]:
    with contextlib.ExitStack() as stack:

        def start() -> Process:
            process = Process(limit, ledger)
            stack.callback(process.kill)
            return process

        yield start


def test_two_fabrics_in_two_processes(limit: Path, ledger: Path, another: Callable[[], Process]) -> None:
    one, two = another(), another()
    one.do("acquire")
    two.do("acquire")
    one.do("release")
    assert value(limit) == MOST
    two.do("release")
    assert value(limit) == 3
    assert not ledger.exists()


def test_processes_that_come_and_go_at_the_same_time(
    limit: Path, ledger: Path, another: Callable[[], Process]
) -> None:
    processes = [another() for _ in range(4)]
    for _ in range(20):
        for word in ("acquire", "release"):
            for process in processes:
                process.start(word)
            for process in processes:
                process.await_done(word)
            assert value(limit) == (MOST if word == "acquire" else 3)
        assert not ledger.exists()


def test_a_killed_holder_leaves_it_to_the_next(
    claim: Callable[[], Overcommit], limit: Path, ledger: Path, another: Callable[[], Process]
) -> None:
    killed = another()
    killed.do("acquire")
    killed.kill()
    assert value(limit) == MOST
    fabric = claim()
    fabric.acquire()
    fabric.release()
    assert value(limit) == 3, "the value before the crash, not the raised one"
    assert not ledger.exists()


def test_a_killed_holder_beside_a_living_one(
    claim: Callable[[], Overcommit], limit: Path, ledger: Path, another: Callable[[], Process]
) -> None:
    fabric, killed = claim(), another()
    killed.do("acquire")
    fabric.acquire()
    killed.kill()
    fabric.release()
    assert value(limit) == 3
    assert not ledger.exists()


def test_after_a_kill_a_release_alone_cleans_up(
    claim: Callable[[], Overcommit], limit: Path, ledger: Path, another: Callable[[], Process]
) -> None:
    killed = another()
    killed.do("acquire")
    killed.kill()
    claim().release()
    assert value(limit) == 3
    assert not ledger.exists()
