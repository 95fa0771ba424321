"""The machine is as it was after an uplink ends, in whatever way; and a host that died finds its uplink again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest

from tests.framework.traffic.streams import MEGABYTE, connect, exchange, receive_exactly
from tests.framework.traffic.traffic import carry, undisturbed
from tests.framework.uplink.uplink import MODES, NIC, Machine, Uplinked
from tests.framework.waiting import wait_until


def promiscuity(machine: Machine) -> int:
    (link,) = json.loads(machine.here.run(["ip", "-j", "-d", "link", "show", NIC]).stdout)
    return int(link["promiscuity"])


def start(machine: Machine, mode: str) -> Uplinked:
    """An uplink that works, and has left its traces in the machine."""
    up = Uplinked.start(machine, mode)
    assert up.web.ping(machine.remote.ip, count=2).lost == 0
    changed = machine.state() ^ (machine.built or frozenset())
    assert any("vnicd0" in line for line in changed)
    assert any(line.startswith("nft") for line in changed) or mode == "bridge"
    assert promiscuity(machine) == (1 if mode == "bridge" else 0)
    return up


def gone(machine: Machine, *pids: int) -> None:
    wait_until(lambda: not {*pids} & machine.fabric.pids(), 5, f"{pids} are gone")


@pytest.mark.parametrize("mode", MODES)
def test_all_is_as_before(machine: Machine, mode: str) -> None:
    """After `clear`, `down`, and `down` behind a killed host; the machine's own traffic notices nothing of it all."""
    with undisturbed(machine.here, machine.remote):
        start(machine, mode)
        machine.clear()
        machine.check_restored()
        machine.set("--mode", mode)
        machine.fabric.down()
        machine.check_restored()
        start(machine, mode)
        machine.kill_host()
        wait_until(lambda: not traces_of_a_killed_host(machine), 5, "the kernel has taken all back")
        carry(machine.here, machine.remote, machine.remote.ip6)
        machine.fabric.down()
        machine.check_restored()


def traces_of_a_killed_host(machine: Machine) -> set[str]:
    """Promiscuity, interfaces, addresses and routes; rules and settings stay until the next host."""
    kept = ("nft", "sysctl", "file")
    return {line for line in machine.state() ^ (machine.built or frozenset()) if not line.startswith(kept)}


def clear_after_a_kill(machine: Machine) -> None:
    machine.kill_host()
    machine.fabric.up()
    machine.clear()
    machine.check_restored()


def down_after_all_were_killed(machine: Machine) -> None:
    machine.kill_host()
    pids = machine.fabric.pids()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    gone(machine, *pids)
    machine.fabric.down()


def down_after_a_polite_end(machine: Machine) -> None:
    """The host alone, as a service manager ends it; `up` would take the uplink up again."""
    pid = machine.fabric.host_pid()
    os.kill(pid, signal.SIGTERM)
    gone(machine, pid)
    wait_until(lambda: not traces_of_a_killed_host(machine), 5, "the kernel has taken all back")
    machine.fabric.down()


@pytest.mark.parametrize("end", [clear_after_a_kill, down_after_all_were_killed, down_after_a_polite_end])
def test_other_ends(machine: Machine, end: Callable[[Machine], None]) -> None:
    """In nat mode, which changes most."""
    start(machine, "nat")
    end(machine)
    machine.check_restored()


@pytest.mark.parametrize("mode", MODES)
def test_the_uplink_comes_back_with_the_host(machine: Machine, mode: str) -> None:
    """With all its settings; partitions with a direct link notice nothing, a stream to the world waits."""
    words = ("--propagate-link",)
    if mode == "nat":
        words += ("--subnet", "10.70.0.0/24", "--subnet", "fd70::/64")
    remote = machine.remote
    with undisturbed(machine.here, remote):
        up = Uplinked.start(machine, mode, *words)
        if mode == "nat":
            machine.fabric.cli("publish", "add", f"8080:{up.web.name}:80")
        before = settings(machine)
        assert up.web.ping(up.db.ip, count=5).lost == 0
        machine.fabric.wait_path(up.web, up.db, "direct")
        near, far = connect(up.web, remote, remote.ip)
        near.sendall(b"before")
        machine.kill_host()
        assert up.web.ping(up.db.ip, count=10).lost == 0
        near.sendall(b"while")
        machine.fabric.up()
        check(up, before)
        assert receive_exactly(far, 11) == b"beforewhile"
        exchange(near, far, MEGABYTE, back=MEGABYTE)

        machine.kill_host()
        pids = machine.fabric.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        gone(machine, *pids)
        machine.fabric.up()
        check(up, before)


def check(up: Uplinked, before: dict[str, object]) -> None:
    """Everything works at once, as it was set."""
    assert settings(up.machine) == before
    for one, other in up.ways:
        assert one.ping(other.ip, count=3).lost == 0
        assert one.ping(other.ip6, count=3).lost == 0


def settings(machine: Machine) -> dict[str, object]:
    return {key: value for key, value in machine.uplink.items() if key not in ("counters", "drops")}


def test_down_forgets_the_uplink(machine: Machine) -> None:
    Uplinked.start(machine, "bridge")
    machine.fabric.down()
    machine.fabric.up()
    assert machine.fabric.json("uplink", "show") == {"uplink": None}


def test_settings_that_somebody_changed_meanwhile_stay(machine: Machine) -> None:
    """What is not ours any longer is not put back to what it once was."""
    Uplinked.start(machine, "nat")
    machine.here.run(["ip", "addr", "add", "10.0.0.33/24", "dev", NIC])
    machine.here.run(["sysctl", "-qw", f"net.ipv4.conf.{NIC}.proxy_arp=1"])
    machine.clear()
    assert "10.0.0.33/24" in machine.here.run(["ip", "addr", "show", NIC]).stdout
    assert machine.here.run(["sysctl", "-n", f"net.ipv4.conf.{NIC}.proxy_arp"]).stdout == "1\n"
    machine.here.run(["ip", "addr", "del", "10.0.0.33/24", "dev", NIC])
    machine.here.run(["sysctl", "-qw", f"net.ipv4.conf.{NIC}.proxy_arp=0"])
