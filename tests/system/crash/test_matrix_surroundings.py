"""The crash matrix, what is around the daemons: the disk is full, interfaces and namespaces go, under traffic."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import named
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.echo import unreached
from tests.framework.traffic.load import Load
from tests.framework.waiting import wait_until
from tests.system.conftest import BASE, TAG

BACK_WITHIN = 8.0
"""Seconds; it takes up to two to notice, and the rest is for a loaded machine."""


# -------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = BASE / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], check=True)
    with ExitStack() as stack:
        stack.callback(place.rmdir)
        stack.callback(subprocess.run, ["umount", str(place)], check=True)
        yield place


@pytest.fixture
def cramped(small_disk: Path) -> Iterator[Fabric]:
    """A fabric whose runtime directory is on it."""
    fabric = Fabric(small_disk / "f", f"{TAG}small")
    with ExitStack() as stack:
        stack.callback(fabric.close)
        yield fabric


def fill(place: Path) -> Path:
    """The file that takes all that is left."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return filler


def test_a_full_disk(small_disk: Path, cramped: Fabric) -> None:
    """Nothing that runs notices; a change is refused in a line and leaves nothing; with room again all goes on."""
    cramped.up()
    ends = [cramped.add(label, f"10.91.0.{n}/24") for n, label in enumerate("ab", 1)]
    host = cramped.host_pid()
    state = (cramped.runtime / "state.json").read_text()
    with Load(*ends) as load:
        load.wait_until_it_flows(10)
        filler = fill(small_disk)
        done = cramped.cli("partition", "add", cramped.name("c"), "--address", "10.91.0.3/24", check=False)
        assert (done.returncode, done.stderr.count("Traceback")) == (14, 0), done.stderr
        load.wait_until_it_flows(10)
    load.check_content()
    assert all(not load[kind].lost for kind in ("tcp", "udp", "ping")), str(load)
    assert cramped.name("c") not in named()
    assert (cramped.runtime / "state.json").read_text() == state

    old = ends[1].pid
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: ends[0].ping(ends[1].ip, "-W", "0.3", count=1).received, BACK_WITHIN, "it is back")
    cramped.wait_path(*ends, "direct")
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: host not in cramped.pids(), BACK_WITHIN, "the host is gone")
    tried = cramped.cli("up", check=False)
    assert tried.returncode in (0, 14), tried.stderr
    filler.unlink()
    if tried.returncode:
        cramped.up()
    # A daemon whose process could not be written down is unknown to the next host, which starts another one.
    wait_until(lambda: ends[0].ping(ends[1].ip, "-W", "0.3", count=1).received, BACK_WITHIN, "it is back")
    third = cramped.add("c", "10.91.0.3/24")
    assert third.ping(ends[1].ip, count=20).lost == 0
    wait_until(lambda: len(cramped.pids()) == 4, BACK_WITHIN, "each has one daemon")


def test_down_with_a_full_disk(small_disk: Path, cramped: Fabric) -> None:
    cramped.up()
    cramped.add("a", "10.91.0.1/24")
    fill(small_disk)
    cramped.down()
    assert cramped.left_behind() == []


def test_up_with_a_full_disk(small_disk: Path, cramped: Fabric) -> None:
    """A clear line, or it works; nothing half is left."""
    filler = fill(small_disk)
    done = cramped.cli("up", check=False)
    left = cramped.left_behind() if done.returncode else []
    if left:
        shutil.rmtree(cramped.runtime)  # so that it is told here and not once more at the end
    assert done.returncode in (0, 14), done.stderr
    assert "Traceback" not in done.stderr
    assert not done.returncode or "No space left" in done.stderr
    assert left == []
    filler.unlink()
    if done.returncode:
        cramped.up()
    cramped.add("a", "10.91.0.1/24")


# ------------------------------------------------------------------------------ what is taken away


def set_down_and_up(victim: Partition) -> None:
    link = ["ip", "link", "set", victim.ifname]
    victim.run([*link, "down"])
    victim.run([*link, "up"])


def delete_interface(victim: Partition) -> None:
    victim.run(["ip", "link", "del", victim.ifname])


def delete_namespace(victim: Partition) -> None:
    subprocess.run(["ip", "netns", "del", victim.name], check=True)


@pytest.mark.parametrize("harm", [set_down_and_up, delete_interface])
@pytest.mark.parametrize("place", ["sending", "receiving"])
def test_an_interface_under_traffic(shared: Fabric, place: str, harm: object) -> None:
    """The connection lives on, with its address; who is beside loses nothing."""
    assert callable(harm)
    label, subnet = f"s{place[0]}{harm.__name__[0]}", 10 * (place == "sending") + (harm is delete_interface)
    one, other, left, right = (
        shared.add(f"{label}{letter}", f"10.92.{subnet}.{n}/24") for n, letter in enumerate("abcd", 1)
    )
    with Load(left, right) as aside, Load(one, other) as load:
        load.wait_until_it_flows(10)
        harm(one if place == "sending" else other)
        load.wait_until_it_flows(BACK_WITHIN + 5)
    load.check_content()
    assert all(load[kind].gap < BACK_WITHIN for kind in ("udp", "ping")), str(load)
    assert all(not aside[kind].lost for kind in ("tcp", "udp", "ping")), str(aside)


def test_a_namespace_under_traffic(shared: Fabric) -> None:
    """Its programs go on in the old one, which has no name any more; the partition has a new one within seconds."""
    victim, peer, left, right = (
        shared.add(f"n{letter}", f"10.92.40.{n}/24") for n, letter in enumerate("abcd", 1)
    )
    old = victim.info["generation"]
    with Load(left, right) as aside, Load(peer, victim, "udp", "ping"):
        aside.wait_until_it_flows(10)
        delete_namespace(victim)
        wait_until(lambda: victim.info["generation"] > old, BACK_WITHIN, "it has a new daemon")
        wait_until(lambda: not unreached([(peer, victim.ip)], 1), BACK_WITHIN, "it answers again")
    aside.check_content()
    assert all(not aside[kind].lost for kind in ("tcp", "udp", "ping")), str(aside)


# ----------------------------------------------------------------------------------- found by soaks


def test_links_made_beside_a_rate_limit(shared: Fabric) -> None:
    """What opens a direct link passes the hosting daemon's link too, where a rate limit holds frames back."""
    ends = [shared.add(f"r{n}", f"10.92.50.{n}/24", rate="200mbit") for n in range(1, 5)]
    assert not unreached([(one, other.ip) for one, other in permutations(ends, 2)], 5)
    for one, other in permutations(ends, 2):
        shared.wait_path(one, other, "direct")
    for each in ends:
        each.run(["ip", "neigh", "flush", "dev", each.ifname])  # so that broadcasts have to come through
    assert not unreached([(one, other.ip) for one, other in permutations(ends, 2)], 5)
