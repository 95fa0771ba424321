"""The command line on a running fabric: what the documents hold, several callers at once."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import named
from tests.framework.waiting import stretched
from tests.system.conftest import Pair

PARTITION_FIELDS = {
    "port", "name", "state", "pid", "mac", "addresses", "mtu", "ifname",
    "netns", "netns_owned", "page_size", "generation", "restarts",
}  # fmt: skip


def test_status(shared: Fabric, pair: Pair) -> None:
    status = shared.json("status")
    fabric = status["fabric"]
    assert fabric["runtime_dir"] == str(shared.runtime)
    assert fabric["pid"] == shared.host_pid()
    assert fabric["hugepages"] == "auto"
    assert fabric["uptime_s"] >= 0
    host, *partitions = status["ports"]
    assert (host["port"], host["name"], host["state"]) == (0, "host", "up")
    assert [partition["name"] for partition in partitions] == [partition.name for partition in pair]
    assert all(set(partition) >= PARTITION_FIELDS for partition in partitions)
    assert {host["pid"], *(partition["pid"] for partition in partitions)} == shared.pids()


def test_list_and_show(shared: Fabric, pair: Pair) -> None:
    listed = shared.json("partition", "list")
    assert listed == shared.json("partition", "ls")
    assert shared.cli("ls", "-q").stdout.split() == [partition.name for partition in pair]
    lines = shared.cli("status", "--format", "{name} {pid}").stdout.splitlines()
    assert lines[1:] == [f"{partition.name} {partition.pid}" for partition in pair]
    for partition, shown in zip(pair, listed["partitions"], strict=True):
        assert shared.json("partition", "show", partition.name) == shown
        assert shown["addresses"] == list(partition.addresses)
        assert shown["netns"] == f"/run/netns/{partition.name}"
        assert shown["netns_owned"] is True


def test_the_interface_is_as_the_document_says(pair: Pair) -> None:
    for partition in pair:
        (link,) = json.loads(
            partition.run(["ip", "-j", "-d", "addr", "show", "dev", partition.ifname]).stdout
        )
        assert link["address"] == partition.mac
        assert link["mtu"] == partition.info["mtu"]
        assert link["operstate"] in ("UP", "UNKNOWN")
        inside = {
            f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if one["scope"] == "global"
        }
        assert inside == set(partition.addresses)
        assert link["linkinfo"]["info_kind"] == "tun"


def test_stats(shared: Fabric, pair: Pair) -> None:
    blue, green = pair
    before = _counters(shared, blue.name)
    assert blue.ping(green.ip, count=10).lost == 0
    after = _counters(shared, blue.name)
    for field in ("tap_rx_frames", "tap_tx_frames"):
        assert after[field] >= before[field] + 10
    ports = shared.json("stats")["ports"]
    assert {port["name"] for port in ports} >= {blue.name, green.name}
    assert all(isinstance(port["drops"], dict) and port["drops"] for port in ports)


def _counters(shared: Fabric, name: str) -> dict[str, Any]:
    (port,) = shared.json("stats", name)["ports"]
    return dict(port["counters"])


def test_tables_are_plain_when_not_on_a_terminal(shared: Fabric, pair: Pair) -> None:
    for command in (
        ["status"],
        ["links"],
        ["stats"],
        ["partition", "list"],
        ["partition", "show", pair[0].name],
    ):
        text = shared.cli(*command).stdout
        assert "\x1b" not in text
        assert pair[0].name in text


def test_explicit_options(shared: Fabric) -> None:
    odd = shared.add("odd", "10.90.0.1/28", "fd90::1/64", mac="02:AB:00:00:00:01", mtu=1400, ifname="net7")
    assert (odd.mac, odd.ifname, odd.info["mtu"]) == ("02:ab:00:00:00:01", "net7", 1400)
    assert "net7" in odd.run(["ip", "-br", "link"]).stdout
    shared.cli("partition", "rm", odd.name)
    assert odd.name not in named()


def test_addresses_are_usable_at_once(shared: Fabric, pair: Pair) -> None:
    """IPv6 addresses are not tentative when `add` returns."""
    for number in range(3):
        quick = shared.add("quick", f"10.77.0.{20 + number}/24", "fd77::20/64")
        assert quick.ping(pair[0].ip, count=1).lost == 0
        assert quick.ping(pair[0].ip6, count=1).lost == 0
        shared.cli("partition", "del", quick.name)


def test_add_is_quick(shared: Fabric, pair: Pair) -> None:
    """0.3 s from the request until the first ping answers, without the time that vnicctl takes to start."""
    times = []
    for number in range(5):
        start = time.monotonic()
        shared.call(
            "partition.add", name=shared.name(f"fast{number}"), addresses=[f"10.77.0.{30 + number}/24"]
        )
        assert shared.partition(f"fast{number}").ping(pair[0].ip, count=1).lost == 0
        times.append(time.monotonic() - start)
        shared.cli("partition", "rm", shared.name(f"fast{number}"))
    assert sorted(times)[len(times) // 2] < stretched(0.3)


def test_ten_adds_at_once(shared: Fabric, pair: Pair) -> None:
    names = [shared.name(f"many{number}") for number in range(10)]
    adding = [
        shared.popen_cli(
            "partition", "add", name, "--address", f"10.77.0.{100 + number}/24", stderr=subprocess.PIPE
        )
        for number, name in enumerate(names)
    ]
    for process in adding:
        error = process.communicate(timeout=30)[1]
        assert process.returncode == 0, error
    for number in range(10):
        assert pair[0].ping(f"10.77.0.{100 + number}", count=2).lost == 0
    removing = [shared.popen_cli("partition", "rm", name) for name in names]
    assert [process.wait(30) for process in removing] == [0] * 10
    assert not set(names) & named()


def test_one_name_ten_times_at_once(shared: Fabric, pair: Pair) -> None:
    """One of them gets it, the others are told that it exists."""
    assert pair
    name = shared.name("same")
    adding = [shared.popen_cli("partition", "add", name, stderr=subprocess.DEVNULL) for _ in range(10)]
    codes = sorted(process.wait(30) for process in adding)
    assert codes == [0] + [6] * 9
    shared.cli("partition", "rm", name)


def test_ip_netns_exec(shared: Fabric, pair: Pair) -> None:
    """The namespace is an ordinary one, and its loopback is up."""
    blue, green = pair
    argv = ["ip", "netns", "exec", blue.name, "ping", "-c", "1", "-W", "1"]
    assert subprocess.run([*argv, green.ip], stdout=subprocess.DEVNULL).returncode == 0
    assert subprocess.run([*argv, "127.0.0.1"], stdout=subprocess.DEVNULL).returncode == 0
    assert Path(f"/run/netns/{blue.name}").samefile(blue.netns)
    assert shared.cli("exec", blue.name, "--", "ping", "-c", "1", "-W", "1", "::1").returncode == 0


def test_version_and_help_need_no_fabric(fabric: Fabric) -> None:
    assert re.search(r"\d+\.\d+", fabric.cli("--version").stdout)
    for command in ([], ["up"], ["partition"], ["partition", "add"], ["exec"], ["doctor"]):
        assert "Usage" in fabric.cli(*command, "--help").stdout
