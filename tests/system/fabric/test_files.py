"""The runtime directory: what is deleted of it under a living hosting daemon is made anew; damage is told."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from concurrent.futures import Future
from functools import partial

import pytest

from tests.framework.beside import side_by_side
from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeFabric
from vnicd.protocol import control

BACK_WITHIN = 8.0
"""Seconds; it takes one to notice, and the rest is for a loaded machine."""

Pair = tuple[Partition, Partition]


FILES = ("directory", "control.sock", "partition.sock", "host.lock")


@pytest.fixture
def pair(fabric: Fabric) -> Pair:
    return _two(fabric)


def _two(fabric: Fabric) -> Pair:
    fabric.up()
    return fabric.add("a", "10.84.0.1/24"), fabric.add("b", "10.84.0.2/24")


def answers(fabric: Fabric) -> bool:
    return fabric.cli("status", check=False).returncode == 0


@pytest.fixture(scope="module")
def deleted(make_module_fabric: MakeFabric) -> dict[str, Future[None]]:
    """What came of each deletion."""
    return side_by_side((what, partial(_delete, make_module_fabric(), what)) for what in FILES)


def _delete(fabric: Fabric, what: str) -> None:
    one, other = _two(fabric)
    host = fabric.host_pid()
    if what == "directory":
        shutil.rmtree(fabric.runtime)
    else:
        (fabric.runtime / what).unlink()
    files = [fabric.runtime / name for name in ("control.sock", "partition.sock", "host.lock", "state.json")]
    wait_until(lambda: all(file.exists() for file in files), BACK_WITHIN, "the files are there again")
    wait_until(lambda: answers(fabric), BACK_WITHIN, "the host answers")
    assert fabric.host_pid() == host
    assert one.ping(other.ip, count=3).lost == 0
    assert fabric.cli("up", check=False).returncode == 4
    os.kill(host, signal.SIGKILL)
    fabric.up()
    assert one.ping(other.ip, count=3).lost == 0
    fabric.down()
    assert fabric.left_behind() == []


@pytest.mark.parametrize("what", FILES)
def test_a_host_goes_on_without_its_files(deleted: dict[str, Future[None]], what: str) -> None:
    deleted[what].result()


def test_a_directory_that_only_root_can_reach(fabric: Fabric) -> None:
    """Partition daemons are not root, and yet find a new hosting daemon."""
    parent = fabric.runtime.parent
    mode = parent.stat().st_mode
    parent.chmod(0o700)
    try:
        fabric.up()
        one, other = fabric.add("a", "10.84.0.1/24"), fabric.add("b", "10.84.0.2/24")
        before = {port["pid"] for port in fabric.call("partition.list")["partitions"]}
        os.kill(fabric.host_pid(), signal.SIGKILL)
        fabric.up()
        assert one.ping(other.ip, count=3).lost == 0
        assert {port["pid"] for port in fabric.call("partition.list")["partitions"]} == before
    finally:
        parent.chmod(mode)


def test_a_damaged_state_is_told(fabric: Fabric, pair: Pair) -> None:
    assert pair
    state = fabric.runtime / "state.json"
    good = state.read_text()
    os.kill(fabric.host_pid(), signal.SIGKILL)
    state.write_text(good[: len(good) // 2])
    done = fabric.cli("up", check=False)
    assert done.returncode == 1
    assert "state.json is damaged" in done.stderr
    assert done.stderr.count("\n") == 1
    state.write_text(good)
    fabric.up()
    fabric.down()
    assert fabric.left_behind() == []


def test_down_does_not_wait_for_clients(fabric: Fabric, pair: Pair) -> None:
    """One has asked for four partitions and keeps its connections open: what is half made is unmade."""
    assert pair
    clients = []
    for number in range(4):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(fabric.runtime / "control.sock"))
        client.send(control.request(1, "partition.add", {"name": fabric.name(f"q{number}")}))
        clients.append(client)
    fabric.cli("down", timeout=15)
    assert fabric.left_behind() == []
    for client in clients:
        client.close()


def test_a_host_that_was_taken_for_gone_leaves_the_next_one_alone(fabric: Fabric, pair: Pair) -> None:
    """Its directory is deleted while it is stopped, and another one is started: the files are that one's then."""
    assert pair
    old = fabric.host_pid()
    partitions = fabric.pids() - {old}
    os.kill(old, signal.SIGSTOP)
    shutil.rmtree(fabric.runtime)
    fabric.up()
    new = fabric.host_pid()
    os.kill(old, signal.SIGCONT)
    wait_until(lambda: old not in fabric.pids(), BACK_WITHIN, "the old host has given up")
    assert answers(fabric)
    assert fabric.host_pid() == new
    wait_until(
        lambda: not partitions & fabric.pids(), BACK_WITHIN, "daemons that the new host does not know end"
    )
    fabric.down()
    assert fabric.left_behind() == []
