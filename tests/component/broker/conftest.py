"""Fixtures of the broker's tests: a broker, a program that it knows, a listener."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.framework.fixtures import listener
from tests.framework.sockets import broker
from tests.framework.sockets.broker import descriptors
from tests.framework.sockets.preload import Program
from tests.framework.waiting import wait_until

__all__ = ["listener"]


@pytest.fixture(scope="module")
def running() -> Iterator[subprocess.Popen[bytes]]:
    process = broker.start(broker.NAME, ["1::10.9.9.1/24,fd09::1/64"])
    yield process
    process.terminate()
    assert process.wait(10) == 0
    for pipe in (process.stdin, process.stdout):
        assert pipe
        pipe.close()


@pytest.fixture
def program(running: subprocess.Popen[bytes]) -> Iterator[Program]:
    """One that the broker knows; the broker's descriptors are as before when the test is over."""
    before = descriptors(running.pid)
    one = Program(broker.NAME)
    yield one
    one.close()
    wait_until(lambda: descriptors(running.pid) <= before, 10, "the broker has let go of everything")
