"""The machine itself in the fabric, without a NIC: it and its partitions reach each other, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.traffic import carry, undisturbed
from tests.framework.uplink.uplink import Machine
from tests.framework.waiting import wait_until

OWN = ("10.77.0.254/24", "fd77::fe/64")


def reach_each_other(machine: Machine, web: Partition) -> None:
    here = machine.port0
    assert set(here.addresses) == set(OWN)
    for version in ("ip", "ip6"):
        for one, other in ((here, web), (web, here)):
            assert one.ping(getattr(other, version), count=3).lost == 0
            carry(one, other, getattr(other, version))


def test_the_machine_is_in_the_fabric(machine: Machine, tmp_path: Path) -> None:
    """From its setting to its end, by command and by file, across a host restart and what others take away."""
    fabric, here = machine.fabric.up(), machine.here
    file = tmp_path / "fabric.toml"
    with undisturbed(here, machine.remote):
        done = fabric.cli("uplink", "none", "--address", "10.0.0.254/16", check=False)
        assert (done.returncode, "overlaps with 10.0.0.0/24 of eth1" in done.stderr) == (7, True)
        web = fabric.add("web", "10.77.0.1/24", "fd77::1/64")
        fabric.cli("uplink", "none", *(word for each in OWN for word in ("--address", each)))
        reach_each_other(machine, web)
        assert web.run(["ping", "-c1", "-W1", machine.remote.ip], check=False).returncode != 0
        assert here.run(["nft", "list", "ruleset"]).stdout == ""
        other = fabric.add("other", "172.20.0.5/24")
        other.run(["ip", "route", "add", "10.77.0.0/24", "dev", other.ifname])
        assert here.ping(other.ip, count=3).lost == 0
        fabric.cli("partition", "remove", other.name)

        shown = machine.uplink
        assert (shown["mode"], shown["nic"], shown["state"], shown["addresses"]) == (
            "none",
            "",
            "up",
            list(OWN),
        )
        assert "none" in fabric.cli("status").stdout
        assert "the machine itself is in the fabric, as vnicd0" in fabric.cli("doctor", check=False).stdout
        taken = fabric.cli("partition", "add", fabric.name("taken"), "--address", OWN[0], check=False)
        assert taken.returncode == 8
        file.write_text(fabric.cli("config", "export").stdout)
        assert "nothing to change" in fabric.cli("apply", str(file)).stdout

        machine.kill_host()
        fabric.up()
        reach_each_other(machine, web)
        here.run(["ip", "addr", "flush", "dev", "vnicd0"])
        wait_until(lambda: machine.uplink["repairs"], 10, "its addresses are back")
        reach_each_other(machine, web)

        machine.clear()
        machine.check_restored()
        machine.set("--mode", "nat")
        fabric.cli("apply", str(file))
        reach_each_other(machine, web)
        machine.clear()
        machine.check_restored()
