"""What a fabric has made and forgotten: doctor names it; `down`, or a partition of its name, takes it away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import named
from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_for_output, wait_until
from tests.system.conftest import MakeFabric

SOON = 8.0


def lose(fabric: Fabric) -> None:
    """The host is killed, and all files of the fabric go."""
    host = fabric.host_pid()
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: host not in fabric.pids(), SOON, "the host is gone")
    shutil.rmtree(fabric.runtime)


def lost(fabric: Fabric, *labels: str) -> list[Partition]:
    fabric.up()
    partitions = [fabric.add(label, f"10.95.0.{n}/24") for n, label in enumerate(labels, 1)]
    lose(fabric)
    return partitions


def told(fabric: Fabric) -> str:
    """What doctor finds wrong with the fabric."""
    checks = fabric.doctor()
    return "\n".join(str(check) for check in checks if check["name"] in ("orphan", "fabric"))


@pytest.mark.parametrize("with_host", [False, True], ids=["no host", "a new host"])
def test_doctor_names_it_and_down_leaves_nothing(fabric: Fabric, with_host: bool) -> None:
    (one,) = lost(fabric, "a")
    if with_host:
        fabric.up()
    assert f"namespace {one.name}" in told(fabric)
    fabric.down()
    assert fabric.left_behind() == []
    assert told(fabric) == ""
    assert fabric.cli("down", check=False).returncode == 3


@pytest.mark.parametrize("with_host", [False, True], ids=["no host", "a new host"])
def test_a_daemon_that_is_stopped_meanwhile(fabric: Fabric, with_host: bool) -> None:
    """So it neither finds out that its fabric is gone, nor is it turned away."""
    fabric.up()
    one = fabric.add("a", "10.95.0.1/24")
    pid = one.pid
    os.kill(pid, signal.SIGSTOP)
    lose(fabric)
    if with_host:
        fabric.up()
    assert f"pid {pid}" in told(fabric)
    fabric.down()
    assert fabric.left_behind() == []


def test_partitions_of_their_names_can_be_added(fabric: Fabric) -> None:
    """Also where the old daemon still lives, and is told so late."""
    fabric.up()
    before = [fabric.add(label, f"10.95.0.{n}/24") for n, label in enumerate(("a", "b"), 1)]
    pid = before[0].pid
    os.kill(pid, signal.SIGSTOP)
    lose(fabric)
    fabric.up()
    one, other = fabric.add("a", "10.95.0.7/24"), fabric.add("b", "10.95.0.8/24")
    assert one.ping(other.ip, count=3).lost == 0
    assert pid not in fabric.pids()
    assert told(fabric) == ""
    fabric.down()
    assert fabric.left_behind() == []


def test_a_namespace_with_a_program_in_it_is_not_taken_away_by_the_way(fabric: Fabric) -> None:
    fabric.up()
    one = fabric.add("a", "10.95.0.1/24")
    program = one.popen(["sleep", "1000"])
    lose(fabric)
    fabric.up()
    done = fabric.cli("partition", "add", one.name, check=False)
    assert done.returncode == 6
    assert f"process {program.pid} runs in it" in done.stderr
    assert f"process {program.pid} runs in it" in told(fabric)
    fabric.down()
    assert program.poll() is None
    assert fabric.left_behind() == []
    inside = ["nsenter", f"--net=/proc/{program.pid}/ns/net", "ip", "-br", "link"]
    links = subprocess.run(inside, check=True, capture_output=True, text=True).stdout
    assert one.ifname not in links


def test_nothing_of_other_fabrics_is_noticed(make_fabric: MakeFabric) -> None:
    """Not even of one that is lost as well, nor is a namespace that was given by --netns."""
    mine, other, lost_one = make_fabric(), make_fabric(), make_fabric()
    other.up()
    ends = [other.add(label, f"10.95.1.{n}/24") for n, label in enumerate(("a", "b"), 1)]
    (theirs,) = lost(lost_one, "a")
    mine.up()
    given = mine.namespace("given")
    mine.add("a", "10.95.0.1/24", netns=given)
    lose(mine)
    assert told(mine) == ""
    (own,) = lost(mine, "b")
    assert own.name in told(mine) and theirs.name not in told(mine)
    mine.down()
    assert {given, theirs.name, *(end.name for end in ends)} <= named()
    assert ends[0].ping(ends[1].ip, count=3).lost == 0
    assert told(other) == ""
    lost_one.down()


def test_one_that_a_partition_was_attached_to_is_left_alone(fabric: Fabric) -> None:
    (old,) = lost(fabric, "a")
    fabric.up()
    user = fabric.add("b", "10.95.0.2/24", netns=old.name, ifname="vnic1")
    wait_until(lambda: told(fabric) == "", SOON, "there is nothing to be said of it")
    fabric.down()
    assert user.name not in named() and old.name in named()
    assert old.name in told(fabric)
    fabric.down()
    assert fabric.left_behind() == []


def test_a_host_that_is_stopped_and_has_lost_its_files(fabric: Fabric) -> None:
    """It would make all anew, were it not ended."""
    fabric.up()
    fabric.add("a", "10.95.0.1/24")
    host = fabric.host_pid()
    os.kill(host, signal.SIGSTOP)
    shutil.rmtree(fabric.runtime)
    assert f"kill -CONT {host}" in told(fabric)
    fabric.down()
    assert fabric.left_behind() == []


PRETENDER = "import os, sys; os.chroot(os.environ['PLACE']); print('ready', flush=True); sys.stdin.read()"


@pytest.mark.parametrize("is_here", [True, False], ids=["here", "in a container"])
def test_a_daemon_in_a_container_is_none_of_ours(fabric: Fabric, tmp_path: Path, is_here: bool) -> None:
    """Its runtime directory has the same name, in a tree of its own."""
    (tmp_path / "vnicd").write_text(PRETENDER)
    words = [sys.executable, str(tmp_path / "vnicd"), "partition", fabric.name("c")]
    fabric.env["PLACE"] = "/" if is_here else str(tmp_path)
    daemon = fabric.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    wait_for_output(daemon.stdout, b"ready", SOON)
    assert (f"kill -9 {daemon.pid}" in told(fabric)) is is_here
    assert fabric.cli("down", check=False).returncode == (0 if is_here else 3)
    assert (daemon.poll() is None) is not is_here
