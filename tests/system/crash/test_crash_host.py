"""The hosting daemon is killed: direct traffic goes on, `up` brings it back, everything registers again."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import open_files
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import Flow
from tests.framework.traffic.streams import connect, exchange
from tests.framework.waiting import wait_until


@pytest.fixture
def linked(fabric: Fabric) -> tuple[Partition, Partition]:
    """Two partitions with a direct link, on a fabric of the test's own."""
    fabric.up()
    blue, green = fabric.add("blue", "10.87.0.1/24"), fabric.add("green", "10.87.0.2/24")
    assert blue.ping(green.ip, count=10).lost == 0
    fabric.wait_path(blue, green, "direct")
    return blue, green


def kill_host(fabric: Fabric) -> None:
    pid = fabric.host_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in fabric.pids(), 5, "the host is gone")


def test_no_ping_is_lost(fabric: Fabric, linked: tuple[Partition, Partition]) -> None:
    """Through the kill, the time without a host, and the registration with the new one."""
    blue, green = linked
    pids = {blue.pid, green.pid}
    running = blue.start_ping(green.ip, count=200)
    kill_host(fabric)
    assert blue.ping(green.ip, count=20).lost == 0
    assert fabric.pids() == pids
    fabric.up()
    assert {blue.pid, green.pid} == pids
    assert fabric.path(blue, green) == "direct"
    assert running.is_running, "it pings all the time"
    assert running.result().lost == 0
    assert [blue.info["restarts"], green.info["restarts"]] == [0, 0]


def test_no_datagram_is_lost_or_overtaken(fabric: Fabric, linked: tuple[Partition, Partition]) -> None:
    blue, green = linked
    with Flow(blue, green) as flow, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(flow.send, 3000, 2.5)
        kill_host(fabric)
        fabric.up()
        sending.result()
        flow.check()


def test_a_stream_goes_on_without_the_host(fabric: Fabric, linked: tuple[Partition, Partition]) -> None:
    blue, green = linked
    kill_host(fabric)
    exchange(*connect(blue, green, green.ip), 16 << 20, back=16 << 20)
    fabric.up()
    exchange(*connect(green, blue, blue.ip), 16 << 20, back=16 << 20)


def test_the_new_host_knows_all_that_the_old_one_knew(
    fabric: Fabric, linked: tuple[Partition, Partition]
) -> None:
    blue, green = linked
    before = fabric.json("partition", "list")
    kill_host(fabric)
    assert fabric.cli("status", check=False).returncode == 3
    fabric.up()
    assert fabric.json("partition", "list") == before

    red = fabric.add("red", "10.87.0.3/24")
    for partition in (blue, green):
        assert partition.ping(red.ip, count=10).lost == 0
        fabric.wait_path(partition, red, "direct")
    assert (
        fabric.cli(
            "partition", "add", fabric.name("other"), "--address", "10.87.0.1/24", check=False
        ).returncode
        == 8
    )
    fabric.cli("partition", "remove", green.name)
    assert blue.ping(red.ip, count=10).lost == 0


def test_again_and_again(fabric: Fabric, linked: tuple[Partition, Partition]) -> None:
    """The daemons keep nothing of a dead host."""
    blue, green = linked
    counts = []
    for _ in range(4):
        kill_host(fabric)
        fabric.up()
        counts.append([len(open_files(partition.pid)) for partition in linked])
    assert counts[0] == counts[-1]
    assert blue.ping(green.ip, count=10).lost == 0


def test_a_partition_dies_while_there_is_no_host(fabric: Fabric, linked: tuple[Partition, Partition]) -> None:
    """`up` starts its daemon again; the interface was kept."""
    blue, green = linked
    old = green.pid
    kill_host(fabric)
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: old not in fabric.pids(), 5, "the daemon is gone")
    assert green.ifname in green.run(["ip", "-br", "link"]).stdout
    fabric.up()
    green.wait_revived(old)
    wait_until(lambda: blue.ping(green.ip, count=1).received, 3, "the ping is back")
    fabric.wait_path(blue, green, "direct")


def test_a_stopped_host_does_not_stop_the_traffic(
    fabric: Fabric, linked: tuple[Partition, Partition]
) -> None:
    blue, green = linked
    pid = fabric.host_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert blue.ping(green.ip, count=50).lost == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    assert fabric.call("fabric.ping")["ready"]


def test_killed_before_a_new_daemon_was_taken_in(fabric: Fabric, linked: tuple[Partition, Partition]) -> None:
    """The daemon that the next host finds has no TAP, and neither has that host: it begins anew."""
    blue, green = linked
    old = green.pid
    host = fabric.host_pid()
    os.kill(host, signal.SIGSTOP)
    os.kill(old, signal.SIGKILL)
    os.kill(host, signal.SIGCONT)
    new = wait_until(lambda: fabric.pids() - {host, blue.pid, old}, 5, "a new daemon").pop()
    os.kill(new, signal.SIGSTOP)
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: host not in fabric.pids(), 5, "the host is gone")
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(fabric.up)
        os.kill(new, signal.SIGCONT)
        starting.result()
    wait_until(lambda: blue.ping(green.ip, "-W", "0.3", count=1).received, 10, "green answers again")


def test_a_daemon_that_the_state_does_not_name_is_taken_up(fabric: Fabric) -> None:
    """It was started while the state could not be written, as on a full disk, and then the host died."""
    fabric.up()
    one, other = fabric.add("a", "10.81.9.1/24"), fabric.add("b", "10.81.9.2/24")
    scratch = fabric.runtime / "state.new"
    scratch.mkdir()
    before = one.pid
    os.kill(before, signal.SIGKILL)
    pid = one.wait_revived(before)
    host = fabric.host_pid()
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: host not in fabric.pids(), 5, "the host is gone")
    assert str(pid) not in (fabric.runtime / "state.json").read_text(), "the test is of a state that is old"
    fabric.up()
    assert (one.info["state"], one.pid, one.info["restarts"]) == ("up", pid, 0)
    assert one.ping(other.ip).lost == 0
    scratch.rmdir()
    wait_until(
        lambda: str(pid) in (fabric.runtime / "state.json").read_text(), 10, "the state is written again"
    )
