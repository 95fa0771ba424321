"""The driver's methods, with a hosting daemon that only notes what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.docker.test_wire import CREATE_ENDPOINT, CREATE_NETWORK, ENDPOINT, NETWORK, portmap
from vnicd.config import Paths
from vnicd.docker import driver as drivers
from vnicd.docker import naming, wire
from vnicd.docker.driver import Driver
from vnicd.docker.fabrics import Fabrics
from vnicd.docker.networks import Networks
from vnicd.docker.wire import PortCall
from vnicd.errors import Busy, Exists, Invalid, NotFound, NotRunning, Taken, VnicdError

CALLER = 4711
NAME = naming.partition(ENDPOINT)
CALL = {"NetworkID": NETWORK, "EndpointID": ENDPOINT}


class FakeFabrics(Fabrics):
    """One network, with partitions and published ports that are kept as they were given."""

    def __init__(self) -> None:
        super().__init__(Paths(Path("/run/vnicd")))
        self.partitions: dict[str, dict[str, Any]] = {}
        self.published: list[str] = []
        self.uplink: dict[str, Any] | None = None
        self.gateways: list[str] = []
        """That a hosting daemon in nat mode gives."""
        self.taken: set[str] = set()
        """Ports of the machine that a program uses."""
        self.failure: VnicdError | None = None

    def call(self, network: str, method: str, params: dict[str, Any] | None = None) -> Any:
        assert network == "fast"
        if self.failure is not None:
            raise self.failure
        return getattr(self, method.replace(".", "_"))(**(params or {}))

    def fabric_ping(self) -> Any:
        return {"ready": True}

    def uplink_show(self) -> Any:
        return {"uplink": self.uplink}

    def partition_add(self, name: str, **words: Any) -> Any:
        if name in self.partitions:
            raise Exists(f"the partition {name} exists already")
        taken = {text for each in self.partitions.values() for text in each["addresses"]}
        if taken & set(words["addresses"]):
            raise Taken("the address belongs to another partition")
        self.partitions[name] = {"name": name, **words}
        self.partitions[name]["addresses"] = words["addresses"] or ["10.89.0.9/24", "fd89::9/64"]
        self.partitions[name]["gateways"] = words["gateways"] or self.gateways
        return self.partitions[name]

    def partition_show(self, name: str) -> Any:
        if name not in self.partitions:
            raise NotFound(f"there is no partition {name}")
        return self.partitions[name]

    def partition_list(self) -> Any:
        return {"partitions": list(self.partitions.values())}

    def partition_remove(self, name: str) -> Any:
        del self.partitions[name]
        return {}

    def publish_list(self) -> Any:
        words = [(text, text.split(":")[-2]) for text in self.published]
        return {
            "published": [
                {
                    "publish": text,
                    "partition": name,
                    "state": "up" if name in self.partitions else "no-partition",
                }
                for text, name in words
            ]
        }

    def publish_add(self, publish: list[str]) -> Any:
        port = publish[0].split(":")[-3]
        if port in self.taken:
            raise Busy(f"a program uses the port {port}")
        self.published += publish
        return {}

    def publish_remove(self, publish: list[str]) -> Any:
        self.published.remove(publish[0])
        return {}


@pytest.fixture
def fabrics() -> FakeFabrics:
    return FakeFabrics()


@pytest.fixture
def driver(fabrics: FakeFabrics, tmp_path: Path) -> Driver:
    found = Driver(fabrics, Networks(tmp_path / "docker.json"))
    found.answer("NetworkDriver.CreateNetwork", {**CREATE_NETWORK, "Options": OPTIONS}, CALLER)
    return found


OPTIONS = {"com.docker.network.generic": {"vnicd.network": "fast", wire.MTU: "9000", "vnicd.rate": "1gbit"}}


def say(driver: Driver, method: str, call: dict[str, Any]) -> dict[str, Any]:
    return driver.answer(f"NetworkDriver.{method}", call, CALLER)


def test_what_it_is(driver: Driver) -> None:
    assert driver.answer("Plugin.Activate", {}, CALLER) == {"Implements": ["NetworkDriver"]}
    assert say(driver, "GetCapabilities", {})["Scope"] == "local"
    assert say(driver, "DiscoverNew", {}) == say(driver, "EndpointOperInfo", CALL)["Value"] == {}
    with pytest.raises(KeyError):
        say(driver, "AllocateNetwork", {})


def test_an_endpoint_is_a_partition(driver: Driver, fabrics: FakeFabrics) -> None:
    """A value that Docker has given is not given back."""
    answer = say(driver, "CreateEndpoint", CREATE_ENDPOINT)
    partition = fabrics.partitions[NAME]
    assert answer == {"Interface": {"MacAddress": "02:48:5e:32:ac:48"}}
    assert partition["netns"] == f"/proc/{CALLER}/ns/net"
    assert partition["handover"] and partition["ifname"] == "vn485e32ac48"
    assert (partition["addresses"], partition["mtu"]) == (["10.89.0.2/24", "fd89::2/64"], 9000)
    assert (partition["rate"], partition["rate_in"]) == ("1gbit", None)
    assert partition["owner"] == {"docker.network": NETWORK, "docker.endpoint": ENDPOINT}
    assert say(driver, "CreateEndpoint", CREATE_ENDPOINT) == answer  # Docker asks again after a lost answer
    assert say(driver, "Join", CALL)["InterfaceName"] == {"SrcName": "vn485e32ac48", "DstPrefix": "eth"}
    assert say(driver, "Leave", CALL) == say(driver, "DeleteEndpoint", CALL) == {}
    assert fabrics.partitions == {}
    assert say(driver, "DeleteEndpoint", CALL) == {}


def test_what_docker_leaves_to_the_driver(driver: Driver) -> None:
    answer = say(driver, "CreateEndpoint", {**CALL, "Interface": {"MacAddress": "02:00:00:00:00:01"}})
    assert answer == {"Interface": {"Address": "10.89.0.9/24", "AddressIPv6": "fd89::9/64"}}


def test_a_partition_of_the_same_name_that_is_not_of_the_endpoint(
    driver: Driver, fabrics: FakeFabrics
) -> None:
    fabrics.partitions[NAME] = {"name": NAME, "owner": {"docker.endpoint": "f" * 64}}
    with pytest.raises(Exists):
        say(driver, "CreateEndpoint", CREATE_ENDPOINT)
    assert say(driver, "DeleteEndpoint", CALL) == {}
    assert NAME in fabrics.partitions


def test_an_endpoint_that_docker_has_forgotten_makes_way(driver: Driver, fabrics: FakeFabrics) -> None:
    """Its answer was lost. What is not Docker's, or has another address, stays."""
    forgotten, other = "f" * 64, "e" * 64
    interface = CREATE_ENDPOINT["Interface"]
    say(driver, "CreateEndpoint", {**CREATE_ENDPOINT, "EndpointID": forgotten})
    say(
        driver,
        "CreateEndpoint",
        {**CALL, "EndpointID": other, "Interface": {"Address": "10.89.0.3/24"}},
    )
    say(driver, "CreateEndpoint", {**CREATE_ENDPOINT, "Interface": interface})
    assert set(fabrics.partitions) == {NAME, naming.partition(other)}
    fabrics.partitions["mine"] = {"name": "mine", "addresses": ["10.89.0.4/24"], "owner": {}}
    with pytest.raises(Taken):
        say(
            driver,
            "CreateEndpoint",
            {**CALL, "EndpointID": "d" * 64, "Interface": {"Address": "10.89.0.4/24"}},
        )


@pytest.mark.parametrize(
    ("mode", "given", "expected"),
    [
        (None, [], {}),
        ("none", [], {}),
        ("nat", ["10.89.0.1"], {"Gateway": "10.89.0.1"}),
        ("bridge", [], {"Gateway": "10.89.0.1", "GatewayIPv6": "fd89::1"}),
        ("shared", [], {"Gateway": "10.89.0.1", "GatewayIPv6": "fd89::1"}),
    ],
)
def test_gateways(
    driver: Driver, fabrics: FakeFabrics, mode: str | None, given: list[str], expected: dict[str, str]
) -> None:
    """Docker is told of one only where it leads outside."""
    fabrics.uplink = {"mode": mode} if mode else None
    fabrics.gateways = given
    say(driver, "CreateEndpoint", CREATE_ENDPOINT)
    answer = say(driver, "Join", CALL)
    assert {key: answer[key] for key in answer if key.startswith("Gateway")} == expected
    assert answer["DisableGatewayService"] is True


def test_an_internal_network_has_no_gateway(driver: Driver, fabrics: FakeFabrics) -> None:
    say(driver, "CreateNetwork", {**CREATE_NETWORK})
    fabrics.uplink, fabrics.gateways = {"mode": "nat"}, ["10.89.0.1"]
    say(driver, "CreateEndpoint", CREATE_ENDPOINT)
    assert "Gateway" not in say(driver, "Join", CALL)


def test_published_ports(driver: Driver, fabrics: FakeFabrics) -> None:
    say(driver, "CreateEndpoint", CREATE_ENDPOINT)
    fabrics.published = [f"9:{naming.PREFIX}{'9' * 12}:9", "10:mine:10"]
    fabrics.taken = {"8080"}
    say(driver, "ProgramExternalConnectivity", {**CALL, **portmap(HostPortEnd=8081)})
    # What an endpoint that is no more has left is taken away; what others have published is theirs.
    assert fabrics.published == ["10:mine:10", f"8081:{NAME}:80"]
    say(driver, "ProgramExternalConnectivity", {**CALL, **portmap(HostPortEnd=8081)})
    assert fabrics.published == ["10:mine:10", f"8081:{NAME}:80"]
    with pytest.raises(Busy):
        say(driver, "ProgramExternalConnectivity", {**CALL, **portmap()})
    assert fabrics.published == ["10:mine:10"]
    say(driver, "ProgramExternalConnectivity", {**CALL, **portmap(HostIP="::1", HostPort=90, Proto=17)})
    assert fabrics.published[1:] == [f"[::1]:90:{NAME}:80/udp"]
    say(driver, "RevokeExternalConnectivity", CALL)
    assert fabrics.published == ["10:mine:10"]


def test_any_port_of_the_machine() -> None:
    numbers = drivers.choices(PortCall("tcp", 80, "", 0, 0))
    assert len(set(numbers)) == len(numbers) > 1
    assert all(49152 <= number <= 65535 for number in numbers)
    assert drivers.choices(PortCall("tcp", 80, "", 80, 82)) == [80, 81, 82]


@pytest.mark.parametrize("failure", [NotRunning("no hosting daemon"), NotFound("no network")])
def test_what_ends_while_no_hosting_daemon_runs(
    driver: Driver, fabrics: FakeFabrics, failure: VnicdError
) -> None:
    say(driver, "CreateEndpoint", CREATE_ENDPOINT)
    fabrics.failure = failure
    assert say(driver, "Leave", CALL) == say(driver, "DeleteEndpoint", CALL) == {}
    with pytest.raises(type(failure)):
        say(driver, "CreateEndpoint", CREATE_ENDPOINT)


def test_a_network_that_is_no_more(driver: Driver) -> None:
    assert say(driver, "DeleteNetwork", {"NetworkID": NETWORK}) == {}
    assert say(driver, "DeleteNetwork", {"NetworkID": NETWORK}) == {}
    assert say(driver, "DeleteEndpoint", CALL) == say(driver, "Leave", CALL) == {}
    with pytest.raises(NotFound):
        say(driver, "CreateEndpoint", CREATE_ENDPOINT)


@pytest.mark.parametrize(
    "options",
    [
        {"vnicd.colour": "red"},
        {"vnicd.network": "fast", "vnicd.nic": "eth0"},
        {"vnicd.network": "../fast"},
        {"vnicd.network": "fast", "vnicd.rate": "much"},
        {"vnicd.network": "fast", wire.MTU: "-1"},
        {"vnicd.network": "fast", wire.MTU: "12"},
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, str]) -> None:
    driver = Driver(Fabrics(Paths(tmp_path)), Networks(tmp_path / "docker.json"))
    with pytest.raises(Invalid):
        say(driver, "CreateNetwork", {**CREATE_NETWORK, "Options": {wire.GENERIC: options}})
    assert driver.networks.known == {}


def test_a_caller_that_cannot_be_seen(driver: Driver) -> None:
    with pytest.raises(Invalid, match="can't be seen"):
        driver.answer("NetworkDriver.CreateEndpoint", CREATE_ENDPOINT, 0)
