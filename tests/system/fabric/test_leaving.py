"""After `down`, whatever went before, nothing of the fabric is left on the machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import taps
from tests.framework.fabric.namespaces import named
from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until


@pytest.fixture
def busy(fabric: Fabric) -> list[Partition]:
    """Three partitions, all linked."""
    fabric.up()
    partitions = [fabric.add(label, f"10.88.0.{n}/24") for n, label in enumerate(("a", "b", "c"), 1)]
    for one in partitions:
        for other in partitions:
            one.ping(other.ip, count=2)
    return partitions


def kill_all(fabric: Fabric) -> None:
    """All daemons at once: the host first, so that it starts none again."""
    pids = fabric.pids()
    for pid in (fabric.host_pid(), *pids):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not fabric.pids(), 5, "all daemons are gone")


def kill_and_up(fabric: Fabric, partitions: list[Partition]) -> None:
    """Everything comes back with `up`."""
    kill_all(fabric)
    fabric.up()
    one, other = partitions[:2]
    wait_until(lambda: one.ping(other.ip, count=1).received, 3, "the ping is back")
    assert [partition.info["state"] for partition in partitions] == ["up"] * 3
    fabric.wait_path(one, other, "direct")


def kill_only(fabric: Fabric, partitions: list[Partition]) -> None:
    assert partitions
    kill_all(fabric)


def kill_host_only(fabric: Fabric, partitions: list[Partition]) -> None:
    assert partitions
    os.kill(fabric.host_pid(), signal.SIGKILL)


def stop_one(_: Fabric, partitions: list[Partition]) -> None:
    os.kill(partitions[0].pid, signal.SIGSTOP)


def kill_one(_: Fabric, partitions: list[Partition]) -> None:
    os.kill(partitions[0].pid, signal.SIGKILL)


def delete_a_namespace(_: Fabric, partitions: list[Partition]) -> None:
    subprocess.run(["ip", "netns", "del", partitions[0].name], check=True)


def delete_an_interface(_: Fabric, partitions: list[Partition]) -> None:
    partitions[0].run(["ip", "link", "del", partitions[0].ifname])


def kill_all_and_delete_a_namespace(fabric: Fabric, partitions: list[Partition]) -> None:
    kill_all(fabric)
    delete_a_namespace(fabric, partitions)


def nothing(_: Fabric, __: list[Partition]) -> None:
    pass


EVENTS: list[Callable[[Fabric, list[Partition]], None]] = [
    nothing,
    kill_one,
    stop_one,
    kill_host_only,
    kill_only,
    kill_and_up,
    delete_a_namespace,
    delete_an_interface,
    kill_all_and_delete_a_namespace,
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_down_leaves_nothing(
    fabric: Fabric, request: pytest.FixtureRequest, event: Callable[[Fabric, list[Partition]], None]
) -> None:
    before = taps()
    event(fabric, request.getfixturevalue("busy"))
    fabric.down()
    assert fabric.left_behind() == []
    assert taps() == before


def test_down_while_programs_run_inside(fabric: Fabric, busy: list[Partition]) -> None:
    """The namespace loses its name and its interface; the program in it is the user's and lives on."""
    sleeper = busy[0].popen(["sleep", "60"])
    fabric.down()
    assert sleeper.poll() is None
    assert busy[0].name not in named()
    assert (
        busy[0].ifname
        not in subprocess.run(
            ["nsenter", f"--net=/proc/{sleeper.pid}/ns/net", "ip", "-br", "link"],
            capture_output=True,
            text=True,
        ).stdout
    )
    assert fabric.left_behind() == []


def test_others_go_on_when_a_namespace_is_deleted(fabric: Fabric, busy: list[Partition]) -> None:
    gone, one, other = busy
    running = one.start_ping(other.ip, count=150)
    subprocess.run(["ip", "netns", "del", gone.name], check=True)
    assert running.result().lost == 0
    fabric.json("status")
    fabric.cli("partition", "remove", gone.name)
    back = fabric.add("a", "10.88.0.1/24")
    wait_until(lambda: one.ping(back.ip, count=1).received, 3, "a partition of that name can be made again")


def test_removed_partition_leaves_nothing(fabric: Fabric, busy: list[Partition]) -> None:
    gone, one, other = busy
    pid = gone.pid
    fabric.cli("partition", "rm", gone.name)
    assert pid not in fabric.pids()
    assert gone.name not in named()
    assert [path for path in fabric.runtime.rglob("*") if gone.name in path.name] == []
    assert {gone.name} & {name for link in fabric.json("links")["links"] for name in link["ports"]} == set()
    assert one.ping(other.ip, count=10).lost == 0


def test_up_after_down(fabric: Fabric, busy: list[Partition]) -> None:
    """The old partitions are gone; names and addresses are free."""
    assert busy
    fabric.down()
    fabric.up()
    assert fabric.json("partition", "list") == {"partitions": []}
    one, other = fabric.add("a", "10.88.0.1/24"), fabric.add("b", "10.88.0.2/24")
    assert one.ping(other.ip, count=10).lost == 0
