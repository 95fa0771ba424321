"""Networks that the machine itself is in have no way to each other through it, and in nat mode share its NIC."""

from __future__ import annotations

from tests.framework.fabric.network import Network
from tests.framework.uplink.uplink import NIC, Machine
from tests.framework.waiting import wait_until


def test_networks_share_a_nic(machine: Machine) -> None:
    default = machine.fabric
    web = Network(default, "web").begin("--nic", NIC, "--subnet", "10.88.0.0/24")
    job = Network(default, "job").begin("--nic", NIC, "--subnet", "10.89.0.0/24", "--gateway", "10.89.0.9")
    a, b = web.add("a"), job.add("b")
    assert (a.addresses, a.info["gateways"]) == (("10.88.0.2/24",), ["10.88.0.1"])
    assert (b.addresses, b.info["gateways"]) == (("10.89.0.1/24",), ["10.89.0.9"])
    assert a.ping(machine.remote.ip).lost == b.ping(machine.remote.ip).lost == 0
    assert a.ping(b.ip, "-W", "1").received == b.ping(a.ip, "-W", "1").received == 0

    default.cli("--network", "web", "publish", "add", f"8080:{a.name}:80")
    for wrong, code, word in (
        (("--network", "job", "publish", "add", f"8080:{b.name}:80"), 15, "another network publishes it"),
        (("network", "add", "x", "--nic", NIC, "--subnet", "10.89.0.128/25"), 7, "that of the network job"),
        (("network", "add", "x", "--nic", NIC, "--subnet", "10.0.0.0/16"), 7, f"interface {NIC}"),
        (("network", "add", "x", "--uplink", "bridge", "--nic", NIC), 15, "uplink of another fabric"),
        (("network", "add", "x", "--uplink", "none", "--subnet", "10.88.0.0/16"), 7, "network web"),
    ):
        said = default.cli(*wrong, check=False)
        assert (said.returncode, word in said.stderr) == (code, True), said
    Network(default, "same").begin("--uplink", "internal", "--subnet", "10.89.0.0/24").end()

    web.end()
    assert b.ping(machine.remote.ip).lost == 0, "the NIC still forwards for the other one"
    job.end()
    assert machine.state() == machine.built


def test_a_machine_that_forwards_is_no_way_between_networks(machine: Machine) -> None:
    default, here = machine.fabric, machine.here
    here.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
    one, other = (
        Network(default, name).begin(
            "--uplink", "none", "--subnet", f"10.{n}.0.0/24", "--subnet", f"fd{n}::/64"
        )
        for name, n in (("one", 88), ("other", 89))
    )
    a, b = one.add("a"), other.add("b")
    for each, to, by in ((a, 89, 88), (b, 88, 89)):
        assert each.ping(f"10.{by}.0.1").lost == 0
        each.run(["ip", "route", "add", f"10.{to}.0.0/24", "via", f"10.{by}.0.1"])
        each.run(["ip", "route", "add", f"fd{to}::/64", "via", f"fd{by}::1"])
    assert a.ping(b.ip, "-W", "1").received == a.ping(b.ip6, "-W", "1").received == 0
    here.run(["nft", "flush", "ruleset"])
    wait_until(lambda: "drop" in here.run(["nft", "list", "ruleset"]).stdout, 10, "the rules are back")
    for network in (one, other):
        network.end()
    here.run(["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"])
    assert here.run(["nft", "list", "ruleset"]).stdout == ""
