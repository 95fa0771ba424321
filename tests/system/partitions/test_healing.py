"""What is deleted from outside is made anew: the interface, the namespace, with the addresses."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import pytest

from tests.framework.beside import side_by_side
from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeFabric

BACK_WITHIN = 8.0
"""Seconds; it takes one to notice, and the rest is for a loaded machine."""

Pair = tuple[Partition, Partition]


Harm = Callable[[Partition], None]


@pytest.fixture
def pair(fabric: Fabric) -> Pair:
    return _two(fabric)


def _two(fabric: Fabric) -> Pair:
    fabric.up()
    one, other = fabric.add("a", "10.83.0.1/24", "fd83::1/64"), fabric.add("b", "10.83.0.2/24", "fd83::2/64")
    other.ping(one.ip, count=3)
    return one, other


def wait_for_ping(one: Partition, target: str) -> None:
    wait_until(
        lambda: one.ping(target, "-W", "0.3", count=1).received, BACK_WITHIN, f"{target} answers again"
    )


def delete_interface(victim: Partition) -> None:
    victim.run(["ip", "link", "del", victim.ifname])


def delete_namespace(victim: Partition) -> None:
    subprocess.run(["ip", "netns", "del", victim.name], check=True)


def replace_namespace(victim: Partition) -> None:
    """Another namespace has its name a moment later."""
    subprocess.run(["ip", "netns", "del", victim.name], check=True)
    subprocess.run(["ip", "netns", "add", victim.name], check=True)


def unmount_namespace(victim: Partition) -> None:
    """Its file stays, and is in the way of a new one."""
    subprocess.run(["umount", f"/run/netns/{victim.name}"], check=True)


HARMS = (delete_interface, delete_namespace, replace_namespace, unmount_namespace)


@pytest.fixture(scope="module")
def healed(make_module_fabric: MakeFabric) -> dict[Harm, Future[None]]:
    """What came of each harm."""
    return side_by_side((harm, partial(_heal, make_module_fabric(), harm)) for harm in HARMS)


def _heal(fabric: Fabric, harm: Harm) -> None:
    victim, peer = _two(fabric)
    mac = victim.info["mac"]
    harm(victim)
    wait_for_ping(peer, victim.ip)
    wait_for_ping(peer, victim.ip6)
    wait_until(
        lambda: victim.run(["ip", "-br", "link", "show", victim.ifname], check=False).returncode == 0,
        BACK_WITHIN,
        "the interface is in the namespace of that name",
    )
    wait_until(lambda: victim.info["state"] == "up", BACK_WITHIN, "the partition is up")
    assert mac in victim.run(["ip", "link", "show", victim.ifname]).stdout
    if harm is delete_namespace:
        log = (fabric.runtime / "log" / "host.log").read_text()
        assert f"the namespace of partition {victim.name} is made anew" in log
        assert "has died" not in log
    fabric.down()
    assert fabric.left_behind() == []


@pytest.mark.parametrize("harm", HARMS)
def test_it_comes_back_with_its_addresses(healed: dict[Harm, Future[None]], harm: Harm) -> None:
    healed[harm].result()


def test_an_interface_deleted_while_there_is_no_host(fabric: Fabric, pair: Pair) -> None:
    victim, peer = pair
    os.kill(fabric.host_pid(), signal.SIGKILL)
    delete_interface(victim)
    fabric.up()
    wait_for_ping(peer, victim.ip)
    assert victim.info["state"] == "up"


def test_an_interface_that_goes_down_and_up(pair: Pair) -> None:
    victim, peer = pair
    pid = victim.pid
    victim.run(["ip", "link", "set", victim.ifname, "down"])
    assert peer.ping(victim.ip, "-W", "0.2", count=1).received == 0
    victim.run(["ip", "link", "set", victim.ifname, "up"])
    wait_for_ping(peer, victim.ip)
    assert victim.pid == pid


def test_who_has_an_address_now_is_heard_at_once(fabric: Fabric) -> None:
    """A partition made anew with another MAC, and one that has the address of another that is gone."""
    one, other = _two(fabric)
    for label, mac in (("b", "02:00:00:00:07:07"), ("c", "02:00:00:00:07:08")):
        fabric.cli("partition", "remove", other.name)
        other = fabric.add(label, "10.83.0.2/24", "fd83::2/64", mac=mac)
        for target in (other.ip, other.ip6):
            wait_until(lambda to=target: one.ping(to, "-W", "1", count=1).received, 5, f"{target} answers")
