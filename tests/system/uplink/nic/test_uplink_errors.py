"""`vnicctl uplink` with wrong words, twice, for a NIC that is taken: a clear line, an exit code, no harm done."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.uplink.uplink import FAR, MODES, NIC, Machine, Uplinked, add
from tests.system.conftest import MakeFabric

BAD = [
    # words after `uplink`, exit code, what the line says
    ("set nope0", 5, "nope0"),
    ("set lo", 7, "loopback"),
    ("set tun9", 7, "tun9"),
    ("set a/b", 7, "a/b"),
    ("set averyveryverylongname", 7, "averyveryverylongname"),
    ("set", 2, "NIC"),
    (f"set {NIC} --mode tunnel", 7, "tunnel"),
    (f"set {NIC} --subnet 10.9.0.0/24", 7, "nat"),
    (f"set {NIC} --publish 80:web:80", 7, "nat"),
    (f"set {NIC} --mode nat --subnet 10.9.0.0", 7, "10.9.0.0"),
    (f"set {NIC} --mode nat --subnet 10.9.0.0/31", 7, "31"),
    (f"set {NIC} --mode nat --subnet 10.9.0.0/24 --subnet 10.8.0.0/24", 7, "10.8.0.0/24"),
    (f"set {NIC} --mode nat --subnet 10.0.0.0/24", 7, "10.0.0"),
    (f"set {NIC} --mode nat --publish web", 7, "web"),
    (f"set {NIC} --mode nat --publish 0:web:80", 7, "0"),
    (f"set {NIC} --mode nat --publish 80:web:80 --publish 80:db:80", 7, "twice"),
    (f"set {NIC} {NIC}", 2, NIC),
    ("show --nonsense", 2, "--nonsense"),
]


@pytest.fixture
def tunnel(uplinked: Uplinked) -> Iterator[None]:
    """An interface that is no Ethernet: tun9."""
    uplinked.here.run(["ip", "tuntap", "add", "tun9", "mode", "tun"])
    yield
    uplinked.here.run(["ip", "tuntap", "del", "tun9", "mode", "tun"])


def one_line(stderr: str) -> str:
    assert stderr.startswith("vnicctl: "), stderr
    assert stderr.count("\n") == 1, stderr
    return stderr


def check_refusals(up: Uplinked) -> None:
    fabric = up.machine.fabric
    before, shown = up.machine.state(), settings(fabric)
    for words, code, says in BAD:
        done = fabric.cli("uplink", *words.split(), check=False)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert says in one_line(done.stderr)
        assert settings(fabric) == shown, words
    assert up.machine.state() == before


def settings(fabric: Fabric) -> dict[str, object]:
    shown = fabric.call("uplink.show")["uplink"] or {}
    return {key: value for key, value in shown.items() if key not in ("counters", "drops")}


@pytest.mark.parametrize("uplinked", ["bridge"], indirect=True)
def test_bad_words(uplinked: Uplinked, tunnel: None) -> None:
    """The uplink that there is stays as it is; where there is none, none is made."""
    check_refusals(uplinked)
    assert uplinked.web.ping(uplinked.remote.ip, count=3).lost == 0
    uplinked.machine.clear()
    check_refusals(uplinked)
    assert uplinked.machine.fabric.call("uplink.show") == {"uplink": None}
    uplinked.machine.set()


def test_clear_without_an_uplink(fabric: Fabric) -> None:
    fabric.up()
    done = fabric.cli("uplink", "clear", check=False)
    assert (done.returncode, done.stdout) == (5, "")
    one_line(done.stderr)
    assert fabric.json("uplink", "show") == {"uplink": None}
    assert fabric.cli("uplink", "show").returncode == 0


def test_nothing_runs(fabric: Fabric) -> None:
    for words in ("uplink show", f"uplink set {NIC}", "uplink clear"):
        done = fabric.cli(*words.split(), check=False)
        assert (done.returncode, done.stdout) == (3, "")
        one_line(done.stderr)


def test_a_nic_of_another_fabric(machine: Machine, make_fabric: MakeFabric) -> None:
    """Whoever has it keeps it, also through a restart of its host, until it is given up."""
    first = Uplinked.start(machine, "bridge")
    second = make_fabric(machine.here.netns).up()
    for mode in MODES:
        done = second.cli("uplink", "set", NIC, "--mode", mode, check=False)
        assert (done.returncode, done.stdout) == (15, ""), done.stderr
        assert NIC in one_line(done.stderr)
    assert first.web.ping(machine.remote.ip, count=3).lost == 0
    machine.clear()
    second.cli("uplink", "set", NIC)
    done = machine.fabric.cli("uplink", "set", NIC, check=False)
    assert done.returncode == 15
    other = add(second, "bridge", "other", 9)
    assert other.ping(machine.remote.ip, count=3).lost == 0
    second.down()
    machine.set()
    assert first.web.ping(machine.remote.ip, count=3).lost == 0


def test_two_fabrics_with_a_nic_each(machine: Machine, make_fabric: MakeFabric) -> None:
    """Side by side in one machine, each with its own port 0."""
    here, remote = machine.here, machine.remote
    here.run(["ip", "link", "add", "eth2", "type", "veth", "peer", "name", "wire2", "netns", remote.name])
    for end, name in ((here, "eth2"), (remote, "wire2")):
        end.run(["ip", "link", "set", name, "up"])
    remote.run(["ip", "addr", "add", "10.2.0.1/24", "dev", "wire2"])
    first = Uplinked.start(machine, "nat")
    second = make_fabric(here.netns).up()
    second.cli("uplink", "set", "eth2")
    other = second.add("other", "10.2.0.9/24")
    assert second.call("uplink.show")["uplink"]["ifname"] == "vnicd1"
    assert other.ping("10.2.0.1", count=3).lost == 0
    assert first.web.ping(remote.ip, count=3).lost == 0
    second.down()
    assert first.web.ping(remote.ip, count=3).lost == 0
    here.run(["ip", "link", "del", "eth2"])


def test_set_again(machine: Machine) -> None:
    """A clean change from each mode to each, as if it were the first."""
    before = "bridge"
    up = Uplinked.start(machine, before)
    for after in ("bridge", "shared", "shared", "nat", "nat", "bridge", "nat", "shared", "bridge"):
        machine.set("--mode", after)
        assert machine.uplink["mode"] == after
        machine.remote.run(["ip", "neigh", "flush", "all"])  # the partitions' MACs differ from mode to mode
        one = up.web if after != "nat" else add(machine.fabric, "nat", "late", 50)
        for target in (machine.remote.ip, machine.remote.ip6, FAR[0], machine.here.ip, machine.here.ip6):
            assert one.ping(target, count=1).lost == 0, (before, after, target)
        assert up.web.ping(up.db.ip, count=1).lost == 0
        if after == "nat":
            machine.fabric.cli("partition", "remove", one.name)
        tables = machine.here.run(["nft", "list", "tables"]).stdout
        assert ("inet" in tables) == (after == "nat")
        before = after


def test_another_nic(machine: Machine) -> None:
    """Moves all partitions to it; the first is the machine's alone again."""
    here, remote = machine.here, machine.remote
    up = Uplinked.start(machine, "bridge")
    here.run(["ip", "link", "add", "eth2", "type", "veth", "peer", "name", "wire2", "netns", remote.name])
    for end, name in ((here, "eth2"), (remote, "wire2")):
        end.run(["ip", "link", "set", name, "up"])
    remote.run(["ip", "addr", "add", "10.0.0.200/32", "dev", "wire2"])
    remote.run(["ip", "route", "add", f"{up.web.ip}/32", "dev", "wire2"])
    machine.set(nic="eth2")
    assert machine.uplink["nic"] == "eth2"
    (link,) = json.loads(here.run(["ip", "-j", "-d", "link", "show", NIC]).stdout)
    assert link["promiscuity"] == 0
    assert up.web.ping("10.0.0.200", count=3).lost == 0
    assert here.ping(remote.ip6, count=3).lost == 0
    machine.set()
    remote.run(["ip", "route", "del", f"{up.web.ip}/32", "dev", "wire2"])
    assert up.web.ping(remote.ip, count=3).lost == 0
    here.run(["ip", "link", "del", "eth2"])
