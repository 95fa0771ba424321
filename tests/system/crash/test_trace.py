"""What a daemon did can be read when it is dead, with and without a hosting daemon; and nothing of it is left."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import open_files
from tests.framework.fabric.users import NOBODY
from tests.framework.waiting import wait_until
from vnicd.native import trace as native
from vnicd.process import privileges, trace_files
from vnicd.process.trace_files import SHARED_MEMORY


@pytest.fixture(params=["runtime", "memory"])
def anywhere(request: pytest.FixtureRequest, fabric: Fabric) -> Iterator[Fabric]:
    """A fabric whose runtime directory is where those of the tests are, and one where it is in memory for certain."""
    if request.param == "runtime":
        yield fabric
        return
    inner = Fabric(SHARED_MEMORY / f"vnicd-test-{fabric.tag}", f"{fabric.tag}m")
    try:
        yield inner
    finally:
        inner.close()


def records(fabric: Fabric, *name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fabric.json("debug", "trace", *name)["records"]
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["kind"] for each in found]


def test_a_daemon_that_was_killed(anywhere: Fabric) -> None:
    fabric = anywhere.up()
    blue, green = fabric.add("blue", "10.88.0.1/24"), fabric.add("green", "10.88.0.2/24")
    blue.ping(green.ip, count=3)
    fabric.wait_path(blue, green, "direct")
    dead = blue.pid
    os.kill(dead, signal.SIGKILL)
    blue.wait_revived(dead, 30)

    def of_both() -> bool:
        return kinds(records(fabric, blue.name)).count("loop_started") == 2

    wait_until(of_both, 30, "the new daemon goes on in the ring")
    found = records(fabric, blue.name)
    assert {each["pid"] for each in found} == {dead, blue.pid}
    lived = [each for each in found if each["pid"] == dead]
    assert {
        "started",
        "connected",
        "registered",
        "order",
        "report",
        "hint",
        "tap",
        "attached",
        "opened",
    } <= set(kinds(lived))
    assert "ended" not in kinds(lived)
    assert [each["pid"] for each in found if each["kind"] == "started"] == [dead, blue.pid]
    text = fabric.cli("debug", "trace", blue.name).stdout
    assert text.startswith(f"the daemon of partition {blue.name}, pid {blue.pid}\n")
    host = records(fabric)
    assert {"started", "ready", "request", "daemon_started", "daemon_died", "link_up", "link_ended"} <= set(
        kinds(host)
    )
    assert [each["text"] for each in host if each["kind"] == "daemon_died"] == [blue.name]
    shutil.rmtree(trace_files.folder(fabric.runtime))
    told = fabric.cli("debug", "trace", blue.name, check=False).stderr
    assert (
        "it was deleted, or there was no memory for it; its daemon gets another one by: vnicctl partition"
        in told
    )
    fabric.cli("partition", "restart", blue.name)
    assert "registered" in kinds(records(fabric, blue.name))
    fabric.down()
    assert not fabric.left_behind()


def test_all_daemons_are_dead(anywhere: Fabric) -> None:
    fabric = anywhere.up()
    blue = fabric.add("blue", "10.88.1.1/24")
    daemon, host = blue.pid, fabric.host_pid()
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: not (set(fabric.pids()) & {host}), 30, "the hosting daemon is dead")
    wait_until(lambda: "host_lost" in kinds(records(fabric, blue.name)), 30, "its end is noticed")
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not fabric.pids(), 30, "both are dead")
    text = fabric.cli("debug", "trace", blue.name, "--lines", "3").stdout
    assert text.splitlines()[0] == f"the daemon of partition {blue.name}, which is dead"
    assert "host_lost" in text
    assert fabric.cli("debug", "trace").stdout.startswith("the hosting daemon, which is dead\n")
    fabric.up()
    wait_until(lambda: kinds(records(fabric, blue.name)).count("started") == 2, 30, "it goes on")
    assert kinds(records(fabric)).count("started") == 2
    fabric.down()
    assert not fabric.left_behind()


def test_a_removed_partition_leaves_no_ring(shared: Fabric) -> None:
    blue = shared.add("gone")
    place = trace_files.folder(shared.runtime)
    assert blue.name in trace_files.names(place)
    shared.cli("partition", "remove", blue.name)
    assert trace_files.names(place) == {"host"}
    done = shared.cli("debug", "trace", blue.name, check=False)
    assert done.returncode == 5
    assert f"there is no partition {blue.name}" in done.stderr


def test_a_partition_daemon_can_do_little_to_its_file(shared: Fabric) -> None:
    blue = shared.add("small")
    assert not [what for what in open_files(blue.pid).values() if what.endswith(".ring")]
    limits = Path(f"/proc/{blue.pid}/limits").read_text().splitlines()
    size = next(line.split()[3:5] for line in limits if line.startswith("Max file size"))
    assert size == [str(privileges.FILE_MOST)] * 2
    ring = trace_files.folder(shared.runtime) / f"{blue.name}.ring"
    os.truncate(ring, 100)
    done = shared.cli("debug", "trace", blue.name, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "damaged" in done.stderr
    os.truncate(ring, native.SIZE)  # before the daemon writes there


def test_only_root_reads_and_only_of_a_fabric(shared: Fabric, fabric: Fabric) -> None:
    assert shared.cli("debug", "trace").returncode == 0
    assert fabric.cli("debug", "trace", check=False).returncode == 3
    argv = [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        *shared._vnicctl(("debug", "trace")),
    ]
    done = shared.popen(argv, stderr=-1)
    assert b"only root" in done.communicate(timeout=60)[1]
    assert done.returncode == 11
