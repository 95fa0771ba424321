"""The crash matrix, the hosting daemon: each harm while traffic runs, and while a change is made."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from subprocess import PIPE

import pytest

from tests.framework.fabric.apply import lines, reaches, text_for, untouched
from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.harm import HARMS, STOPPED, in_order
from tests.framework.fabric.namespaces import named
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.load import Load
from tests.framework.waiting import pace, wait_until
from tests.system.conftest import MakeFabric

PLACES = ("traffic", "add", "remove", "new daemon", "apply")

DECLARED = "\n".join(
    f'[partitions.@{label}]\naddresses = ["10.89.0.{n}/24"]' for label, n in (("a", 1), ("b", 2), ("n", 9))
)
"""What is applied: r goes first, then n comes."""

DELAYS = {"kill": 0.03, "terminate": 0.06, "out of memory": 0.0, "stop": 0.05}
"""Seconds after the request: an addition takes about 0.1."""

AT_ONCE = 3
"""Cells that run side by side. Each waits most of the time, but the loads of six starve one another on two CPUs."""


@dataclass
class Cell:
    fabric: Fabric
    load: Load
    pids: set[int]
    """The daemons that must live on: the host if it was only stopped, and the loaded pair's."""
    label: str
    """Of the partition that was added or removed."""
    code: int
    """Exit code of the request for that."""
    said: str


@pytest.fixture(scope="module")
def cells(make_module_fabric: MakeFabric) -> dict[tuple[str, str], Cell]:
    """What came of each harm in each place, each on a fabric of its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {
            (place, harm): pool.submit(_cell, make_module_fabric(), place, harm)
            for place, harm in in_order(PLACES)
        }
        return {key: cell.result() for key, cell in running.items()}


def _cell(fabric: Fabric, place: str, harm: str) -> Cell:
    fabric.up()
    one, other, third = (fabric.add(label, f"10.89.0.{n}/24") for n, label in enumerate(("a", "b", "r"), 1))
    wait_until(lambda: one.ping(other.ip, count=5).lost == 0, 10, "no ping is lost")
    fabric.wait_path(one, other, "direct")
    host = fabric.host_pid()
    pids = {one.pid, other.pid} | ({host} if harm == "stop" or place == "new daemon" else set())
    load = Load(one, other)
    label, code, said = "", 0, ""
    with load:
        load.wait_until_it_flows(10)
        if place == "traffic":
            HARMS[harm](host)
        elif place == "new daemon":
            label = "n"
            code, said = _harm_the_new_daemon(fabric, harm)
        elif place == "apply":
            label = "n"
            code, said = _harm_within_apply(fabric, harm, host)
        else:
            label = "n" if place == "add" else "r"
            code, said = _harm_during(fabric, place, label, harm, host)
        if host not in fabric.pids():
            fabric.up()
        load.wait_until_it_flows(10)
    assert third
    return Cell(fabric, load, pids, label, code, said)


def _harm_during(fabric: Fabric, place: str, label: str, harm: str, host: int) -> tuple[int, str]:
    options = ["--address", "10.89.0.9/24"] if place == "add" else []
    request = fabric.popen_cli("partition", place, fabric.name(label), *options, stdout=PIPE, stderr=PIPE)
    for _ in pace(1 / (DELAYS[harm] or 1e-3), 2 * DELAYS[harm] or 1e-3):
        pass
    HARMS[harm](host)
    _, said = request.communicate(timeout=60)
    return request.returncode, said.decode()


def _harm_the_new_daemon(fabric: Fabric, harm: str) -> tuple[int, str]:
    """The daemon of a partition that is being added, as soon as there is one."""
    before = fabric.pids()
    request = fabric.popen_cli(
        "partition", "add", fabric.name("n"), "--address", "10.89.0.9/24", stdout=PIPE, stderr=PIPE
    )
    new = wait_until(lambda: fabric.pids() - before, 10, "there is a new daemon").pop()
    HARMS[harm](new)
    _, said = request.communicate(timeout=60)
    return request.returncode, said.decode()


def _harm_within_apply(fabric: Fabric, harm: str, host: int) -> tuple[int, str]:
    """As soon as one of its two changes is made."""
    path = fabric.runtime.with_suffix(".toml")
    path.write_text(text_for(fabric, DECLARED))
    try:
        request = fabric.popen_cli("apply", str(path), stdout=PIPE, stderr=PIPE)
        wait_until(lambda: fabric.name("r") not in named(), 10, "the removal is made")
        HARMS[harm](host)
        _, said = request.communicate(timeout=60)
    finally:
        path.unlink()
    return request.returncode, said.decode()


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("place", PLACES)
def test_direct_traffic_does_not_notice(cells: dict[tuple[str, str], Cell], place: str, harm: str) -> None:
    cell = cells[place, harm]
    cell.load.check_content()
    assert all(not cell.load[kind].lost for kind in ("tcp", "udp", "ping")), str(cell.load)
    assert max(cell.load[kind].gap for kind in ("tcp", "udp", "ping")) < STOPPED / 2, str(cell.load)
    assert cell.pids <= cell.fabric.pids()


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("place", PLACES[1:-1])
def test_a_change_is_whole_or_was_never_begun(
    cells: dict[tuple[str, str], Cell], place: str, harm: str
) -> None:
    """Who was told of success gets it; else one clear line, and what is there can be used or is not there at all."""
    cell = cells[place, harm]
    fabric, name = cell.fabric, cell.fabric.name(cell.label)
    listed = {port["name"] for port in fabric.call("partition.list")["partitions"]}
    assert (name in named()) == (name in listed)
    if cell.code:
        assert_clear(cell.said)
    else:
        assert (name in listed) == (place != "remove")
    if name in listed:
        partition = fabric.partition(cell.label)
        wait_until(lambda: partition.info["state"] == "up", 10, "it is up")
        sender: Partition = fabric.partition("a")
        wait_until(lambda: sender.ping(partition.ip, "-W", "0.3", count=1).received, 5, "it answers")
        fabric.cli("partition", "remove", name)
    fabric.add(cell.label, "10.89.0.9/24")


def assert_clear(said: str) -> None:
    assert said.startswith("vnicctl: ")
    assert "Traceback" not in said
    assert said.count("\n") <= 2, said


@pytest.mark.parametrize("harm", HARMS)
def test_what_was_left_of_an_apply_is_applied(cells: dict[tuple[str, str], Cell], harm: str) -> None:
    """By the same file; what it had done already is neither undone nor done twice."""
    cell = cells["apply", harm]
    fabric = cell.fabric
    if cell.code:
        assert_clear(cell.said)
    assert fabric.name("r") not in named()
    kept = untouched(fabric, "a", "b")
    left = lines(fabric, DECLARED)
    assert left == ["nothing to change"] or (cell.code and left == ["+ partition n"])
    assert lines(fabric, DECLARED) == ["nothing to change"]
    assert untouched(fabric, "a", "b") == kept
    assert reaches(fabric.partition("n"), fabric.partition("a").ip)
    wait_until(fabric.is_whole, 10, "the daemons have the memory of their links and no other")


@pytest.mark.parametrize("harm", HARMS)
def test_the_next_host_has_all(cells: dict[tuple[str, str], Cell], harm: str) -> None:
    """Registered again, and with a link; new ones reach everybody; and nothing is left over."""
    cell = cells["traffic", harm]
    fabric = cell.fabric
    one, other = fabric.partition("a"), fabric.partition("b")

    def is_direct() -> bool:
        """An end that is too late for the new host loses the link, and gets another one by a frame."""
        if fabric.path(one, other) != "direct":
            one.ping(other.ip, count=1)
        return fabric.path(one, other) == "direct"

    wait_until(is_direct, 20, "they have a direct link")
    new = fabric.add("new", "10.89.0.8/24")
    assert new.ping(one.ip, count=5).lost == 0
    assert other.ping(new.ip, count=5).lost == 0

    wait_until(fabric.is_whole, 10, "the daemons have the memory of their links and no other")


def test_host_and_all_partitions_at_once(fabric: Fabric) -> None:
    """Also of the `up` that follows one may be killed: a single one more brings everything back."""
    fabric.up()
    ends = [fabric.add(label, f"10.89.1.{n}/24") for n, label in enumerate("ab", 1)]
    ends[0].know(ends[1])
    assert ends[0].ping(ends[1].ip, count=5).lost == 0
    with Load(*ends) as load:
        load.wait_until_it_flows(10)
        fabric.kill_all()
        starting = fabric.popen_cli("up", stdout=PIPE, stderr=PIPE)
        for pid in wait_until(fabric.pids, 10, "a daemon is there"):
            os.kill(pid, signal.SIGKILL)
        starting.communicate(timeout=60)
        fabric.cli("up", check=False)
        load.wait_until_it_flows(20)
    load.check_content()
    assert "PERMANENT" in ends[0].run(["ip", "neigh"]).stdout, "a user's neighbours stay"
    fabric.down()
    assert fabric.left_behind() == []
