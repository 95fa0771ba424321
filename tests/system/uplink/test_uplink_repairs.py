"""What others take away of an uplink comes back, and what of theirs is in its way is named and stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.framework.uplink.uplink import Machine, Uplinked
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeMachine

SOON = 10.0
"""Seconds on a busy machine; it is a tenth of one on an idle one."""


def state(machine: Machine) -> set[str]:
    """Addresses, routes, rules and settings; without link-local addresses, which the kernel marks as its own."""
    lines = (line for line in machine.state() if not line.startswith(("tc", "ethtool", "link")))
    return {line for line in lines if "fe80::" not in line}


@pytest.fixture(scope="module")
def nat(make_module_machine: MakeMachine) -> Uplinked:
    machine = make_module_machine()
    return Uplinked.start(machine, "nat")


DAMAGES = (
    "nft flush ruleset",
    "nft delete chain inet {table} forward",
    "nft add rule inet {table} forward drop",
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0",
    "sysctl -qw net.ipv6.conf.{nic}.force_forwarding=0",
    "ip addr flush dev vnicd0",
    "ip route del 10.78.0.0/24",
    "ip link set vnicd0 down",
    "ip link del vnicd0",
)


def test_what_is_taken_away_comes_back(nat: Uplinked) -> None:
    """Whatever it is, with a line in the log and a number in `uplink show`; a partition has a way out again."""
    machine = nat.machine
    table = nat.here.run(["nft", "list", "tables"]).stdout.split()[-1]
    before = state(machine)
    for number, damage in enumerate(DAMAGES, 1):
        words = damage.format(table=table, nic="eth1")
        nat.here.run(["sh", "-c", words])
        wait_until(lambda number=number: machine.uplink["repairs"] >= number, SOON, f"noticed: {words}")
        wait_until(lambda: state(machine) == before, SOON, f"put back: {words}")
    for target in (nat.remote.ip, nat.remote.ip6):
        assert nat.web.ping(target, count=3).lost == 0
    assert "another program took away what the uplink needs" in machine.fabric.logs()
    assert "put back" in machine.fabric.cli("uplink", "show").stdout


def test_a_table_that_is_flushed_in_a_loop_comes_back(nat: Uplinked) -> None:
    """Also if it is gone between the moment it is made and the moment it is looked at."""
    machine = nat.machine
    before = state(machine)
    loop = "end=$(($(date +%s) + 2)); while [ $(date +%s) -lt $end ]; do nft flush ruleset; done"
    nat.here.run(["sh", "-c", loop])
    wait_until(lambda: state(machine) == before, 3 * SOON, "put back after the loop")


def test_its_interface_leaves_a_bridge(nat: Uplinked) -> None:
    machine, here = nat.machine, nat.here
    here.run(["ip", "link", "add", "br9", "type", "bridge"])
    try:
        here.run(["ip", "link", "set", "vnicd0", "master", "br9"])
        shown = "vnicd0 outside of bridges"
        wait_until(lambda: shown in machine.uplink["last_repair"], 3 * SOON, "put back")
        assert "master" not in here.run(["ip", "-o", "link", "show", "vnicd0"]).stdout
        assert nat.web.ping(nat.remote.ip, count=3).lost == 0
    finally:
        here.run(["ip", "link", "del", "br9"])


def test_the_same_uplink_set_again_mends_at_once(nat: Uplinked, tmp_path: Path) -> None:
    """Before its command ends, also while a fight has made the daemon slow; and so does apply."""
    machine = nat.machine
    file = tmp_path / "fabric.toml"
    file.write_text(machine.fabric.cli("config", "export").stdout)
    before = state(machine)
    for _ in range(6):
        nat.here.run(["nft", "flush", "ruleset"])
        machine.set("--mode", "nat")
        assert state(machine) == before
    nat.here.run(["nft", "flush", "ruleset"])
    machine.fabric.cli("apply", str(file))
    assert state(machine) == before
    assert "keeps taking away" in machine.fabric.cli("doctor", check=False).stdout


def test_a_firewall_of_others_is_named(nat: Uplinked) -> None:
    """And stays as it is; once it names port 0's interface it is taken for one that lets it pass."""
    machine, here = nat.machine, nat.here
    here.run(
        [
            "nft",
            "add table inet mine; add chain inet mine c { type filter hook forward priority 0; policy drop; }",
        ]
    )
    try:
        shown = wait_until(lambda: machine.uplink["in_the_way"], SOON, "it is noticed")
        assert shown == ["chain c of table inet mine: policy drop"]
        assert "policy drop" in machine.fabric.cli("uplink", "show").stdout
        told = machine.fabric.cli("doctor", check=False).stdout
        insert = "nft insert rule inet mine c"
        command = f"{insert} iifname vnicd0 accept && {insert} oifname vnicd0 accept"
        assert command in " ".join(told.split())
        assert nat.web.ping(nat.remote.ip, "-W", "0.3", count=1).received == 0
        here.run(["sh", "-c", command])
        wait_until(lambda: not machine.uplink["in_the_way"], SOON, "it is no more in the way")
        assert nat.web.ping(nat.remote.ip, count=3).lost == 0
    finally:
        here.run(["nft", "delete", "table", "inet", "mine"])
