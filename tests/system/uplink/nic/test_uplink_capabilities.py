"""What the NIC can do is read from it, shown, offered to the partitions, and followed when it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.forge import Ear, say
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, frame
from tests.framework.traffic.traffic import address, carry, send_segmented
from tests.framework.uplink.uplink import MODES, NIC, NIC_MAC, WIRE, Machine, Uplinked, add
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeMachine

SOON = 1.0
"""Seconds within which a change of the NIC must be followed."""

TCP, UDP = b"\6", b"\x11"

OFFLOADS = ("tx-checksum", "tso4", "tso6", "uso", "rx-checksum", "gro")


def mtu(partition: Partition) -> int:
    """As the partition's kernel has it."""
    (link,) = json.loads(partition.run(["ip", "-j", "link", "show", partition.ifname]).stdout)
    return int(link["mtu"])


def ethtool(partition: Partition, *words: str) -> None:
    partition.run(["ethtool", "-K", partition.ifname, *words])


@contextmanager
def without(partition: Partition, *features: str) -> Iterator[None]:
    """Features of an interface switched off while the block runs."""
    before = features_of(partition)
    ethtool(partition, *(word for feature in features for word in (feature, "off")))
    try:
        yield
    finally:
        ethtool(partition, *(word for feature in reversed(features) for word in (feature, "on")))
        for name, value in features_of(partition).items():
            if before[name] != value:
                ethtool(partition, name, before[name])


def features_of(partition: Partition) -> dict[str, str]:
    """What may be changed, with `on` or `off`."""
    lines = partition.run(["ethtool", "-k", partition.ifname]).stdout.splitlines()[1:]
    pairs = [line.strip().split(": ") for line in lines if "[fixed]" not in line]
    return {name: value.split()[0] for name, value in pairs}


def test_what_is_shown(uplinked: Uplinked) -> None:
    shown = uplinked.machine.uplink
    assert shown["nic"] == NIC
    assert (shown["mode"], shown["backend"], shown["state"], shown["reason"]) == (
        uplinked.mode,
        "packet",
        "up",
        "",
    )
    assert (shown["mac"], shown["mtu"], shown["speed_mbit"], shown["carrier"]) == (
        NIC_MAC,
        1500,
        10_000,
        True,
    )
    assert set(shown["offloads"]) == set(OFFLOADS)
    assert all(isinstance(value, bool) for value in shown["offloads"].values())
    assert shown["default_route"] is True
    assert _without_counts(uplinked.machine.fabric.json("uplink", "show")["uplink"]) == _without_counts(shown)
    text = uplinked.machine.fabric.cli("uplink", "show").stdout
    for word in (NIC, uplinked.mode, "packet", "up", NIC_MAC, "1500", "vnicd0"):
        assert word in text.split(), text


def _without_counts(shown: dict[str, object]) -> dict[str, object]:
    """What stays the same while kernels chatter; that there are counts is asserted."""
    return {key: shown[key] for key in shown.keys() - {"counters", "drops"}} | {
        "counts": sorted(shown.keys() & {"counters", "drops"})
    }


@pytest.mark.parametrize(
    ("feature", "keys"),
    [
        ("tso", {"tso4", "tso6"}),
        ("tx", {"tx-checksum", "tso4", "tso6", "uso"}),
        ("rx", {"rx-checksum"}),
        ("gro", {"gro"}),
    ],
)
def test_an_offload_switched_off_is_shown(uplinked: Uplinked, feature: str, keys: set[str]) -> None:
    machine = uplinked.machine
    ethtool(uplinked.here, feature, "on")
    before = wait_until(
        lambda: (now := machine.uplink["offloads"])[min(keys)] and now, SOON, f"{feature} is on"
    )
    with without(uplinked.here, feature):
        wait_until(
            lambda: not any(machine.uplink["offloads"][key] for key in keys), SOON, f"{feature} is off"
        )
        now = machine.uplink["offloads"]
        assert {key for key in OFFLOADS if now[key] != before[key]} <= {*keys, "gro"}
    wait_until(lambda: machine.uplink["offloads"] == before, SOON, f"{feature} is on again")
    if feature == "gro":
        ethtool(uplinked.here, "gro", "off")  # as it was built


LACKING = [
    ("here", ("tso",)),
    ("here", ("gso",)),
    ("here", ("tx",)),
    ("here", ("tx-udp-segmentation",)),
    ("here", ("tx", "sg", "tso", "gso", "rx")),
    ("remote", ("tx", "sg", "tso", "gso", "rx")),
]


@pytest.mark.parametrize(("side", "features"), LACKING)
def test_traffic_is_right_without_offloads(uplinked: Uplinked, side: str, features: tuple[str, ...]) -> None:
    """At the NIC, which then gets no frame that it cannot take; or at the remote host, which then sends small ones.

    The other side checks checksums by itself.
    """
    ends = [uplinked.here, uplinked.remote]
    lacking, checking = ends if side == "here" else ends[::-1]
    with without(lacking, *features), without(checking, "rx"), Ear(uplinked.remote) as ear:
        for one, other in uplinked.ways:
            for version in (4, 6):
                carry(one, other, address(other, version))
                send_segmented(one, other, version)
        assert uplinked.web.ping(uplinked.remote.ip, "-s", "8000", count=3).lost == 0
        say(uplinked.here, frame(BROADCAST, NIC_MAC, EXPERIMENTAL, b"the end"))
        heard = [seen.payload for seen in ear.until(b"the end")]
    needed = {UDP: {"tx", "tx-udp-segmentation"}, TCP: {"tx", "tso"}}  # for more than an MTU at once
    for protocol, all_of in needed.items():
        if side == "here" and all_of & set(features):
            carried = [payload for payload in heard if protocol in (payload[6:7], payload[9:10])]
            assert 1000 < max(map(len, carried)) <= 1500


@pytest.fixture
def jumbo(make_machine: MakeMachine) -> Machine:
    """A machine whose cable carries frames of any size; its NIC's MTU is still 1500."""
    machine = make_machine()
    machine.remote.run(["ip", "link", "set", WIRE, "mtu", "9000"])
    return machine


def set_mtu(machine: Machine, value: int) -> None:
    machine.here.run(["ip", "link", "set", NIC, "mtu", str(value)])


@pytest.mark.parametrize("mode", MODES)
def test_partitions_follow_the_mtu(jumbo: Machine, mode: str) -> None:
    """Those that were given none; and port 0. Without an uplink it is 1500."""
    up = Uplinked.start(jumbo, mode)
    fixed = add(jumbo.fabric, mode, "fixed", 20, mtu=1400)
    for value in (9000, 1300):
        set_mtu(jumbo, value)
        for one in (up.web, up.db, jumbo.port0):
            wait_until(lambda one=one, value=value: mtu(one) == value, SOON, f"{one.name} has MTU {value}")
        assert jumbo.uplink["mtu"] == value
        assert (up.web.info["mtu"], fixed.info["mtu"], mtu(fixed)) == (value, 1400, 1400)
        assert up.web.ping(jumbo.remote.ip, "-M", "do", "-s", str(value - 28), count=3).lost == 0
        carry(up.web, jumbo.remote, jumbo.remote.ip)
        carry(up.web, up.db, up.db.ip6)
    late = add(jumbo.fabric, mode, "late", 21)
    assert mtu(late) == 1300
    jumbo.clear()
    for one in (up.web, late):
        wait_until(lambda one=one: mtu(one) == 1500, SOON, "MTU 1500 again")
    set_mtu(jumbo, 1500)


def test_an_mtu_beyond_the_nics_is_refused(uplinked: Uplinked) -> None:
    fabric = uplinked.machine.fabric
    done = fabric.cli("partition", "add", fabric.name("big"), "--mtu", "1501", check=False)
    assert (done.returncode, done.stdout) == (7, "")
    assert "1500" in done.stderr
    assert done.stderr.count("\n") == 1
    assert fabric.name("big") not in json.dumps(fabric.call("partition.list"))
    least = add(fabric, uplinked.mode, "least", 22, mtu=1500)
    assert least.ping(uplinked.remote.ip, count=3).lost == 0
    fabric.cli("partition", "remove", least.name)


def test_a_change_of_mac_is_followed(machine: Machine) -> None:
    """In shared mode all that partitions send has the NIC's new MAC."""
    up = Uplinked.start(machine, "shared")
    other = "02:00:00:00:01:99"
    for mac in (other, NIC_MAC):
        machine.here.run(["ip", "link", "set", NIC, "address", mac])
        wait_until(
            lambda mac=mac: (machine.uplink["mac"], machine.port0.mac) == (mac, mac), SOON, f"{mac} is used"
        )
        machine.remote.run(["ip", "neigh", "flush", "all"])
        with Ear(machine.remote) as ear:
            assert up.web.ping(machine.remote.ip, count=3).lost == 0
            assert machine.here.ping(machine.remote.ip, count=3).lost == 0
            assert machine.here.ping(up.web.ip6, count=3).lost == 0
            say(machine.here, frame(BROADCAST, mac, EXPERIMENTAL, b"the end"))
            assert {seen.source for seen in ear.until(b"the end")} == {mac}


def test_a_default_route_over_the_nic(machine: Machine) -> None:
    """Allowed, with a warning: a mistake can cut the machine off."""
    fabric = machine.fabric.up()
    assert "warning" in fabric.cli("uplink", "set", NIC).stderr
    assert machine.uplink["default_route"] is True
    doctor = fabric.cli("doctor", check=False).stdout
    assert NIC in doctor
    assert "default route" in doctor
    for version in ("-4", "-6"):
        machine.here.run(["ip", version, "route", "del", "default"])
    assert "warning" not in fabric.cli("uplink", "set", NIC).stderr
    assert machine.uplink["default_route"] is False
    assert "default route" not in fabric.cli("doctor", check=False).stdout
    machine.configure()
