"""The spare daemon: it becomes the daemon of a runtime's next partition, and is in nobody's way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.waiting import wait_until
from vnicd.kernel import process
from vnicd.process import privileges
from vnicd.protocol import registration


@pytest.fixture
def fabric(fabric: Fabric) -> Fabric:
    return fabric.up()


def spares(fabric: Fabric) -> list[int]:
    return [
        pid
        for pid, words in process.command_lines()
        if words[3:] == ["partition", registration.NOBODYS]
        and process.variable(pid, "VNICD_RUNTIME_DIR") == str(fabric.runtime)
    ]


def the_spare(fabric: Fabric) -> int:
    (pid,) = wait_until(lambda: spares(fabric), 10, "there is a spare daemon")
    return pid


def test_a_spare_daemon(fabric: Fabric) -> None:
    first = fabric.add("first", "10.77.0.1/24")
    assert not spares(fabric)
    fabric.add("second", "10.77.0.2/24", owner="runtime=test")
    pid = the_spare(fabric)
    third = fabric.add("third", "10.77.0.3/24", owner="runtime=test")
    assert third.pid == pid
    assert dict(process.command_lines())[pid][3:] == ["partition", third.name]
    assert process.user(pid) == privileges.user_of(fabric.runtime, third.info["port"])
    log = Path(fabric.runtime, "log", f"{third.name}.log")
    assert Path(f"/proc/{pid}/fd/2").samefile(log)
    assert first.ping(third.ip).lost == 0
    for number, death in ((4, signal.SIGKILL), (5, signal.SIGSTOP)):
        os.kill(the_spare(fabric), death)
        another = fabric.add(f"p{number}", f"10.77.0.{number}/24", owner="runtime=test")
        assert first.ping(another.ip).lost == 0
    the_spare(fabric)
    os.kill(fabric.host_pid(), signal.SIGKILL)
    wait_until(lambda: not spares(fabric), 10, "the spare daemon has ended")
    fabric.up()
    assert third.pid == pid
    fabric.add("last", "10.77.0.9/24", owner="runtime=test")
    the_spare(fabric)
    fabric.down()
    assert not spares(fabric)
