"""vnicctl apply on a running fabric: only what differs is changed, and what goes on is not disturbed."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from typing import Any

import pytest

from tests.framework.fabric.apply import apply, lines, reaches, text_for, there, untouched
from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import named
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import Flow
from tests.framework.traffic.streams import MEGABYTE, connect, exchange, iperf, on_the_wire
from tests.framework.uplink.uplink import Machine
from tests.framework.waiting import stretched, wait_until

PAIR = """
[partitions.@web]
addresses = ["10.77.0.1/24", "fd77::1/64"]
[partitions.@db]
addresses = ["10.77.0.2/24", "fd77::2/64"]
"""


@pytest.fixture
def fabric(fabric: Fabric) -> Fabric:
    return fabric.up()


def test_a_fabric_from_a_file(fabric: Fabric) -> None:
    added = ["+ partition web", "+ partition db"]
    assert lines(fabric, PAIR, "--dry-run") == [*added, "nothing was changed: --dry-run"]
    assert fabric.call("partition.list")["partitions"] == []
    assert lines(fabric, PAIR) == added
    web, db = fabric.partition("web"), fabric.partition("db")
    assert reaches(web, db.ip)
    assert reaches(web, db.ip6)
    before = untouched(fabric, "web", "db")
    assert lines(fabric, PAIR) == lines(fabric, PAIR, "--dry-run") == ["nothing to change"]
    assert lines(fabric, PAIR.replace("@db", "@mail")) == ["- partition db", "+ partition mail"]
    assert untouched(fabric, "web") == before[:1]
    assert fabric.name("db") not in named()
    assert lines(fabric, "", "--allow-empty") == ["- partition web", "- partition mail"]
    assert fabric.call("partition.list")["partitions"] == []


@pytest.mark.parametrize(
    "text", ["", "# [partitions.web]\n", 'hugepages = "auto"\n'], ids=["empty", "comment", "option"]
)
def test_what_declares_nothing_removes_nothing(fabric: Fabric, text: str) -> None:
    """A file that was lost or commented out is likelier than somebody who wants nothing to be left."""
    apply(fabric, PAIR)
    before = untouched(fabric, "web", "db")
    for words in ([], ["--dry-run"]):
        done = apply(fabric, text, *words)
        assert done.stdout == "nothing to change\n"
        assert fabric.name("web") in done.stderr and "--allow-empty" in done.stderr
    assert untouched(fabric, "web", "db") == before
    assert json.loads(apply(fabric, text, "--json").stdout)["kept"] == [fabric.name("web"), fabric.name("db")]


def test_the_export_changes_nothing(fabric: Fabric) -> None:
    apply(fabric, PAIR + 'mtu = 1400\nrate = "1.5gbit"\ngateways = ["10.77.0.9"]\n[partitions.@bare]\n')
    text = fabric.cli("config", "export").stdout
    assert 'rate = "1500mbit"' in text
    assert "mac" not in text
    for _ in range(2):
        assert lines(fabric, text) == ["nothing to change"]
    bare = fabric.cli("partition", "show", fabric.name("bare")).stdout
    apply(fabric, "", "--allow-empty")
    apply(fabric, text)
    assert fabric.cli("config", "export").stdout == text
    assert "mac" in bare


def test_traffic_of_what_is_unchanged_goes_on(fabric: Fabric) -> None:
    """Others are added, removed, changed and made anew meanwhile."""
    more = '[partitions.@three]\naddresses = ["10.77.0.3/24"]\n[partitions.@four]\n'
    apply(fabric, PAIR + more)
    web, db = fabric.partition("web"), fabric.partition("db")
    assert reaches(web, db.ip)
    fabric.wait_path(web, db, "direct")
    before = untouched(fabric, "web", "db")
    near, far = connect(web, db, db.ip)
    ping = web.start_ping(db.ip, 200)
    with Flow(web, db) as flow:
        flow.send(1000, 0.1)
        for change in ("", more.replace("0.3/", "0.33/") + "mtu = 9000\n", more + 'ifname = "eth0"\n', more):
            apply(fabric, PAIR + change)
            exchange_some(near, far)
            flow.send(1000, 0.1)
        flow.check()
    assert ping.result().lost == 0
    assert untouched(fabric, "web", "db") == before


def exchange_some(near: socket.socket, far: socket.socket) -> None:
    """Something each way over a connection that goes on."""
    for one, other in ((near, far), (far, near)):
        one.sendall(b"x" * 100_000)
        left = 100_000
        while left:
            chunk = other.recv(left)
            assert chunk
            left -= len(chunk)


@pytest.mark.parametrize("which", ["10.77.0.2", "fd77::2"])
def test_a_connection_over_an_address_that_stays(fabric: Fabric, which: str) -> None:
    """The first address of its subnet goes, others come, and the rate, the MTU and the gateway change."""
    own = (
        'addresses = ["10.77.0.8/24", "10.77.0.2/24", "fd77::8/64", "fd77::2/64"]\ngateways = ["10.77.0.1"]\n'
    )
    text = '[partitions.@web]\naddresses = ["10.77.0.1/24", "fd77::1/64"]\n[partitions.@db]\n'
    apply(fabric, text + own)
    web, db = fabric.partition("web"), fabric.partition("db")
    before = untouched(fabric, "web", "db")
    near, far = connect(web, db, which)
    ping = web.start_ping(which, 150)
    changed = (
        'addresses = ["10.77.0.2/24", "fd77::2/64", "10.77.0.20/24", "10.88.0.1/16", "fd88::1/64"]\n'
        'gateways = ["10.77.0.3", "fd88::9"]\nrate = "1gbit"\nmtu = 1300\n'
    )
    (line,) = lines(fabric, text + changed)
    assert line == (
        "~ partition db: addresses -10.77.0.8/24 -fd77::8/64 +10.77.0.20/24 +10.88.0.1/16 +fd88::1/64, "
        "gateways -10.77.0.1 +10.77.0.3 +fd88::9, rate unlimited -> 1gbit, mtu the uplink's -> 1300"
    )
    exchange_some(near, far)
    assert routes(db.netns, "-4") == [("10.77.0.3", "vnic0")]
    assert routes(db.netns, "-6") == [("fd88::9", "vnic0")]
    assert there(db.netns) == set(fabric.partition("db").addresses)
    assert reaches(web, "10.77.0.20")
    assert web.ping("10.77.0.8", "-W", "0.2", count=1).received == 0
    assert db.info["mtu"] == 1300
    assert "mtu 1300 " in db.run(["ip", "link", "show", "vnic0"]).stdout
    assert lines(fabric, text + own) == [line_back()]
    exchange_some(near, far)
    exchange(near, far, MEGABYTE, back=MEGABYTE)
    assert routes(db.netns, "-6") == []
    assert ping.result().lost == 0
    assert untouched(fabric, "web", "db") == before


def line_back() -> str:
    return (
        "~ partition db: addresses -10.77.0.20/24 -10.88.0.1/16 -fd88::1/64 +10.77.0.8/24 +fd77::8/64, "
        "gateways -10.77.0.3 -fd88::9 +10.77.0.1, rate 1gbit -> unlimited, mtu 1300 -> the uplink's"
    )


def routes(netns: str, family: str) -> list[tuple[str, str]]:
    """The default routes, as gateway and interface."""
    command = ["nsenter", f"--net={netns}", "ip", "-j", family, "route", "show", "default"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [(each["gateway"], each["dev"]) for each in found]


def test_addresses_that_change_hands(fabric: Fabric) -> None:
    """Two partitions swap theirs, and the neighbours hear of it at once."""
    apply(fabric, PAIR + '[partitions.@three]\naddresses = ["10.77.0.3/24", "fd77::3/64"]\n')
    web, db, three = (fabric.partition(label) for label in ("web", "db", "three"))
    targets = [*(target.split("/")[0] for target in web.addresses + db.addresses)]
    assert all(reaches(three, target) for target in targets)
    before = untouched(fabric, "web", "db", "three")
    swapped = PAIR.replace("@web", "@x").replace("@db", "@web").replace("@x", "@db")
    text = swapped + '[partitions.@three]\naddresses = ["10.77.0.3/24", "fd77::3/64"]\n'
    assert len(lines(fabric, text)) == 2
    assert (fabric.partition("web").addresses, fabric.partition("db").addresses) == (
        db.addresses,
        web.addresses,
    )
    assert there(web.netns) == set(db.addresses)
    begun = time.monotonic()
    assert all(reaches(three, target) for target in targets)
    assert time.monotonic() - begun < 4
    neighbours = json.loads(three.run(["ip", "-j", "neigh", "show", "dev", "vnic0"]).stdout)
    found = {each["dst"]: each.get("lladdr") for each in neighbours}
    assert (found["10.77.0.1"], found["10.77.0.2"], found["fd77::1"]) == (db.mac, web.mac, db.mac)
    assert untouched(fabric, "web", "db", "three") == before
    assert lines(fabric, text) == ["nothing to change"]


def test_the_same_address_with_another_prefix_length(fabric: Fabric) -> None:
    apply(fabric, PAIR)
    other = PAIR.replace("/24", "/16").replace("/64", "/48")
    assert len(lines(fabric, other)) == 2
    web, db = fabric.partition("web"), fabric.partition("db")
    assert there(web.netns) == {"10.77.0.1/16", "fd77::1/48"}
    assert reaches(web, db.ip)
    assert reaches(web, db.ip6)
    assert lines(fabric, other) == ["nothing to change"]


def test_an_mtu_too_small_for_ipv6_and_back(fabric: Fabric) -> None:
    """The kernel takes all of IPv6 away from such an interface."""
    apply(fabric, PAIR)
    small = PAIR.replace(', "fd77::2/64"', "") + "mtu = 700\n"
    (line,) = lines(fabric, small)
    assert line.endswith("addresses -fd77::2/64, mtu the uplink's -> 700")
    web, db = fabric.partition("web"), fabric.partition("db")
    assert there(db.netns) == {"10.77.0.2/24"}
    assert reaches(web, db.ip)
    apply(fabric, PAIR)
    assert there(db.netns) == {"10.77.0.2/24", "fd77::2/64"}
    assert reaches(web, "fd77::2")


WRONG = """\
[uplink]
nic = "{nic}"
mode = "nat"
[partitions.@web]
addresses = ["10.77.0.1/24", "fd77::1/64"]
netns = "@box"
[partitions.@held]
[partitions.@large]
mtu = 9000
[partitions.@lost]
netns = "@old"
addresses = ["10.0.0.2/24"]
[partitions.@new]
"""


def test_what_is_in_the_way_is_found_before_anything_is_changed(machine: Machine) -> None:
    """By a dry run as by the run itself: all of it is told, nothing is changed."""
    fabric = machine.fabric.up()
    apply(fabric, PAIR + "[partitions.@old]\n")
    fabric.namespace("held")
    box = fabric.namespace("box")
    subprocess.run(["ip", "-n", box, "link", "add", "vnic0", "type", "veth", "peer", "v1"], check=True)
    web, db, old = (fabric.partition(label) for label in ("web", "db", "old"))
    before, exported = untouched(fabric, "web", "db", "old"), fabric.cli("config", "export").stdout
    ping = web.start_ping(db.ip, 200)
    machine.here.run(["ip", "tuntap", "add", "tun0", "mode", "tun"])
    elsewhere = "10.0.0.2 is an address of this machine; give the partition another one"
    at_the_nic = "a partition has the address 10.0.0.2, which is this machine's; give it another one"
    too_large = "the MTU 9000 is larger than the uplink's; give it at most 1500, or make that of eth1 larger"
    for nic, obstacles, large, own in (
        ("none", ["there is no interface none; list them with: ip link"], [], elsewhere),
        ("tun0", ["tun0 is no network adapter; name one of those in: ip link"], [], elsewhere),
        ("eth1", [], [too_large], at_the_nic),
    ):
        text = WRONG.format(nic=nic)
        dry, done = apply(fabric, text, "--dry-run", check=False), apply(fabric, text, check=False)
        assert (dry.returncode, dry.stdout, dry.stderr) == (done.returncode, done.stdout, done.stderr)
        assert done.returncode == 16
        assert "nothing was changed" in done.stderr
        assert told(fabric, done.stdout) == {
            "- partition db": [],
            "- partition old": [],
            f"+ uplink {nic}": obstacles,
            "~ partition web": ["an interface named vnic0 is in /run/netns/box already"],
            "+ partition held": ["a namespace named held exists already"],
            "+ partition large": large,
            "+ partition lost": [
                own,
                "the namespace at /run/netns/old goes with the partition old; "
                "vnicd has made it; attach one that stays",
            ],
            "+ partition new": [],
        }
    assert json.loads(apply(fabric, text, "--json", check=False).stdout)["refused"]
    machine.here.run(["ip", "link", "del", "tun0"])
    assert ping.result().lost == 0
    assert untouched(fabric, "web", "db", "old") == before
    assert fabric.cli("config", "export").stdout == exported
    assert reaches(web, db.ip)
    assert old.run(["ip", "link", "show", "vnic0"]).returncode == 0
    single_requests_change_nothing(fabric)


def told(fabric: Fabric, output: str) -> dict[str, list[str]]:
    """What is in the way of each change."""
    found: dict[str, list[str]] = {}
    for line in output.replace(f"-{fabric.tag}", "").splitlines():
        if line.startswith("  can't be made: "):
            found[list(found)[-1]].append(line.partition(": ")[2])
        else:
            found[line.split(":")[0]] = []
    return found


def declared(partition: Partition) -> dict[str, Any]:
    """What is shown of it, without what a look at its interface finds, which is a moment old."""
    return {key: value for key, value in partition.info.items() if key not in ("actual", "drift", "mended")}


def single_requests_change_nothing(fabric: Fabric) -> None:
    """They find what is in their way before they begin, and tell all of it."""
    before = fabric.call("partition.list"), fabric.call("uplink.show")
    add = ("partition", "add", fabric.name("new"), "--netns", fabric.name("box"), "--address", "10.77.0.1/24")
    done = fabric.cli(*add, check=False)
    assert done.returncode == 8
    assert "10.77.0.1/24 belongs to" in done.stderr and "an interface named vnic0 is in" in done.stderr
    done = fabric.cli("uplink", "set", "eth1", "--mode", "nat", "--subnet", "10.0.0.0/16", check=False)
    assert done.returncode == 7
    assert "the subnet 10.0.0.0/16 overlaps" in done.stderr
    assert (fabric.call("partition.list"), fabric.call("uplink.show")) == before


def test_what_no_check_foresees_keeps_nothing_else_from_being_done(fabric: Fabric) -> None:
    """What was removed for it is made as it was, and a second apply makes up for it."""
    apply(fabric, PAIR)
    db, box = fabric.partition("db"), fabric.namespace("box")
    db.run(["sysctl", "-qw", "net.ipv6.conf.vnic0.disable_ipv6=1"])
    address = ["ip", "-n", box, "address"]
    subprocess.run(["ip", "-n", box, "link", "set", "lo", "up"], check=True)
    subprocess.run([*address, "add", "fd77::9/128", "dev", "lo"], check=True)
    before, shown = there(db.netns), declared(db)
    text = PAIR.replace('0.2/24"', '0.22/24", "fd99::1/64"').replace(
        '::1/64"]\n', f'::1/64"]\nnetns = "{box}"\ngateways = ["fd77::9"]\n', 1
    )
    done = apply(fabric, text + "[partitions.@new]\n", check=False)
    assert done.returncode == 7
    assert done.stdout.count("failed: the kernel refuses the settings of vnic0") == 1
    assert done.stdout.count("failed: the gateway fd77::9 can't be used") == 1
    assert (there(db.netns), declared(db)) == (before, shown)
    web = fabric.partition("web")
    assert web.netns == f"/run/netns/{web.name}"
    assert reaches(web, db.ip)
    assert reaches(web, "fd77::1")
    assert fabric.partition("new").info["state"] == "up"
    subprocess.run([*address, "del", "fd77::9/128", "dev", "lo"], check=True)
    db.run(["sysctl", "-qw", "net.ipv6.conf.vnic0.disable_ipv6=0"])
    assert len(lines(fabric, text + "[partitions.@new]\n")) == 2
    assert fabric.partition("web").netns == f"/run/netns/{box}"


def test_the_host_finds_what_was_applied_after_a_crash(fabric: Fabric) -> None:
    changed = PAIR.replace("0.2/", "0.22/") + 'rate = "1gbit"\n'
    apply(fabric, PAIR)
    apply(fabric, changed)
    subprocess.run(["kill", "-9", str(fabric.host_pid())], check=True)
    wait_until(lambda: fabric.cli("status", check=False).returncode == 3, 5, "the host is gone")
    fabric.up()
    assert lines(fabric, changed) == ["nothing to change"]
    web, db = fabric.partition("web"), fabric.partition("db")
    assert db.ip == "10.77.0.22"
    assert reaches(web, db.ip)
    subprocess.run(["kill", "-9", str(db.pid)], check=True)
    wait_until(lambda: db.info["state"] == "up" and db.info["restarts"], 5, "its daemon is back")
    assert there(db.netns) == set(db.addresses)


NAT = """\
[uplink]
nic = "eth1"
mode = "nat"
[partitions.@web]
publish = ["8080:80"]
[partitions.@db]
rate = "100mbit"
"""


def test_nat_mode(machine: Machine) -> None:
    """Addresses are given, and a second apply, or the export, does not see them as a difference."""
    fabric = machine.fabric.up()
    assert lines(fabric, NAT) == ["+ uplink eth1", "+ partition web", "+ partition db"]
    web, db = fabric.partition("web"), fabric.partition("db")
    assert (web.addresses, db.addresses) == (("10.78.0.2/24", "fd78::2/64"), ("10.78.0.3/24", "fd78::3/64"))
    assert reaches(web, machine.remote.ip)
    assert reaches(db, machine.remote.ip6)
    assert machine.uplink["publish"] == [f"8080:{web.name}:80"]
    before = untouched(fabric, "web", "db")
    assert lines(fabric, NAT) == lines(fabric, fabric.cli("config", "export").stdout) == ["nothing to change"]
    near, far = connect(web, db, db.ip)
    bridge = NAT.replace("nat", "bridge").replace('publish = ["8080:80"]', 'addresses = ["10.0.0.5/24"]')
    assert lines(fabric, bridge) == [
        "~ uplink: mode nat -> bridge, subnets -10.78.0.1/24 -fd78::1/64, publish -8080:web:80",
        "~ partition web: addresses -10.78.0.2/24 -fd78::2/64 +10.0.0.5/24, gateways -10.78.0.1 -fd78::1",
        "~ partition db: addresses -10.78.0.3/24 -fd78::3/64, gateways -10.78.0.1 -fd78::1",
    ]
    assert reaches(fabric.partition("web"), machine.remote.ip)
    assert routes(web.netns, "-4") == []
    assert len(lines(fabric, NAT)) == 3
    exchange_some(near, far)
    assert untouched(fabric, "web", "db") == before
    assert reaches(fabric.partition("web"), machine.remote.ip)
    assert lines(fabric, NAT.replace('rate = "100mbit"', "")) == ["~ partition db: rate 100mbit -> unlimited"]
    assert lines(fabric, '[uplink]\nnic = "eth1"\nmode = "nat"\n') == [
        "- partition web",
        "- partition db",
        "~ uplink: publish -8080:web:80",
    ]
    assert lines(fabric, "", "--allow-empty") == ["- uplink eth1"]
    machine.check_restored()


def test_the_rate_changes_under_a_stream(machine: Machine) -> None:
    fabric = machine.fabric.up()
    apply(fabric, NAT)
    db = fabric.partition("db")
    for rate, expected in (("100mbit", 100e6), ("20mbit", 20e6)):
        apply(fabric, NAT.replace("100mbit", rate))
        end = iperf(db, machine.remote, "-O", "1", seconds=2)
        least = (
            0.8 if stretched(1.0) < 3 else 0.5
        )  # what a sender without CPU leaves out is no fault of the limit
        assert least * expected < on_the_wire(end) < 1.2 * expected


def test_a_dry_run_and_a_request_at_the_same_time(fabric: Fabric) -> None:
    """Applies wait for each other, and none of them sees the other half done."""
    running = []
    for label, number in (("one", 1), ("two", 2), ("one", 1), ("two", 2)):
        path = fabric.runtime / f"{label}.toml"
        path.write_text(text_for(fabric, f'[partitions.@{label}]\naddresses = ["10.77.0.{number}/24"]\n'))
        running.append(fabric.popen_cli("apply", str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * 4, outputs
    assert len(fabric.call("partition.list")["partitions"]) == 1
    for label in ("one", "two"):
        (fabric.runtime / f"{label}.toml").unlink()
