"""Two networks in nat mode share the machine's NIC, and have no way to each other."""

from __future__ import annotations

from tests.framework.fabric.network import Network
from tests.framework.uplink.uplink import NIC, Machine


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
