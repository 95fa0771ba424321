"""Interfaces that are changed from outside: what is put back, what is left and named, what vnicctl shows."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until
from vnicd.spec.addresses import link_local

WITHIN = 15.0
"""Seconds; two are what it takes at most on an idle machine."""

GATEWAYS = ("10.84.0.254", "fd84::ff")


def change(victim: Partition, *commands: str) -> None:
    for command in commands:
        victim.run(["ip", *command.replace("IF", victim.ifname).split()])


def facts(victim: Partition) -> dict[str, Any]:
    info = victim.info
    return {**info, "kinds": [each["kind"] for each in info["drift"]]}


def is_whole(victim: Partition) -> bool:
    info = facts(victim)
    actual, declared = info["actual"], {key: info[key] for key in ("mac", "mtu", "gateways")}
    return (
        not info["kinds"]
        and {key: actual[key] for key in declared} == declared
        and set(info["addresses"]) <= set(actual["addresses"])
    )


def lines(fabric: Fabric, victim: Partition) -> list[str]:
    log = (fabric.runtime / "log/host.log").read_text().splitlines()
    return [line for line in log if f"partition {victim.name} " in line]


@pytest.fixture(scope="module")
def ours(shared: Fabric) -> Iterator[Partition]:
    yield shared.add("ours", "10.84.0.1/24", "fd84::1/64", gateway=GATEWAYS)


@pytest.fixture(scope="module")
def attached(shared: Fabric) -> Iterator[Partition]:
    netns = shared.namespace("box")
    yield shared.add("attached", "10.84.0.2/24", "fd84::2/64", gateway=GATEWAYS, netns=netns)


def test_what_was_lost_comes_back(shared: Fabric, ours: Partition) -> None:
    peer = shared.add("peer", "10.84.0.3/24", "fd84::3/64")
    assert is_whole(ours)
    change(ours, "address add 10.99.0.1/24 dev IF", "link set IF mtu 1400", "link set IF address 02:00:00:00:00:99",
           "address del 10.84.0.1/24 dev IF", "address del fd84::1/64 dev IF",
           "-6 route flush default")  # fmt: skip
    wait_until(lambda: is_whole(ours), WITHIN, "all is as it was declared")
    assert peer.ping(ours.ip).lost == peer.ping(ours.ip6).lost == 0
    info = facts(ours)
    assert "10.99.0.1/24" in info["actual"]["addresses"]
    assert info["mended"] == len(lines(shared, ours)) >= 5
    assert not [check for check in shared.doctor() if ours.name in check["detail"]]


def test_set_down_it_stays_down_and_set_up_it_is_whole(shared: Fabric, ours: Partition) -> None:
    change(ours, "link set IF down")
    wait_until(lambda: facts(ours)["kinds"] == ["down"], WITHIN, "it is seen that it is down")
    wait_until(lambda: "set down" in lines(shared, ours)[-1], WITHIN, "a look has logged it")
    assert facts(ours)["actual"]["up"] is False
    text = shared.cli("status").stdout
    assert f"{ours.ifname}*" in text and "set down" in text
    change(ours, "link set IF up")
    wait_until(lambda: is_whole(ours), WITHIN, "addresses and routes are back")
    before = ours.info["mended"]
    change(ours, "link set IF down", "link set IF up")
    wait_until(
        lambda: ours.info["mended"] > before and is_whole(ours), WITHIN, "also when that was but a moment"
    )


def test_a_link_local_address_of_another_mac_goes_with_it(ours: Partition) -> None:
    change(ours, "link set IF address 02:00:00:00:00:67", "link set IF down", "link set IF up")
    own = link_local(ours.mac)

    def link_locals() -> list[str]:
        shown = ours.run(["ip", "-j", "-6", "addr", "show", "dev", ours.ifname, "scope", "link"]).stdout
        return [each["local"] for link in json.loads(shown) if link for each in link["addr_info"] if each]

    wait_until(lambda: is_whole(ours) and link_locals() == [own], WITHIN, "it has that of its own MAC alone")


def test_in_a_namespace_of_another_it_is_named(shared: Fabric, attached: Partition) -> None:
    change(attached, "link set IF mtu 1400", "link set IF address 02:00:00:00:00:99",
           "address del 10.84.0.2/24 dev IF", "link set IF name eth7")  # fmt: skip
    changed = ["name", "mac", "mtu", "address", "route"]
    wait_until(lambda: facts(attached)["kinds"] == changed, WITHIN, "all of it is seen")
    change(attached, "link set eth7 down")
    wait_until(lambda: "set down" in lines(shared, attached)[-1], WITHIN, "a look has found that it is down")
    change(attached, "link set eth7 up")
    wait_until(
        lambda: "fd84::2/64" in facts(attached)["actual"]["addresses"], WITHIN, "the kernel's doing is undone"
    )
    assert facts(attached)["kinds"] == changed
    shown = shared.cli("partition", "show", attached.name).stdout
    assert "eth7 (declared: vnic0)" in shown and "10.84.0.2/24 (gone)" in shown
    for text in ("eth7*", "02:00:00:00:00:99*", "1400*", "fd84::2/64*"):
        assert text in shared.cli("partition", "list").stdout
    found = [
        check
        for check in shared.doctor()
        if check["name"] == "partition" and attached.name in check["detail"]
    ]
    assert [check["status"] for check in found] == ["warn", "fail", "warn", "warn", "warn"]
    assert "bad_source" in found[1]["detail"]
    for check in (*found[1:], found[0]):  # the others go by the name that it has
        program, *words = check["remedy"].split()
        assert program == "vnicctl"
        shared.cli(*words)
    wait_until(lambda: is_whole(attached), WITHIN, "each remedy has done what it says")


def test_a_stopped_daemon_is_not_up(shared: Fabric, ours: Partition) -> None:
    pid = ours.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: ours.info["state"] == "stopped", WITHIN, "it is seen")
        assert f"kill -CONT {pid}" in shared.cli("status").stdout
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: ours.info["state"] == "up", WITHIN, "it is up again")
