"""Networks of the service: their units, apart from those of the default one, and what they outlive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import HOST, Service, unit
from vnicd.errors import NotRunning
from vnicd.protocol.control import Client

NETWORK_HOST = "vnicd-network@side.service"


@pytest.fixture
def side(service: Service, pair: Pair) -> Iterator[Client]:
    """The network `side`, in which a partition has the name and the address of one of the default network."""
    service.container.run(["ip", "netns", "add", "job"])
    service.cli("network", "add", "side", "--uplink", "internal", "--subnet", "10.77.0.0/24")
    service.cli(
        "--network", "side", "partition", "add", "blue", "--netns", "job", "--address", "10.77.0.2/24"
    )
    yield client(service)
    service.cli("network", "remove", "side", "--force", check=False)
    service.container.run(["ip", "netns", "del", "job"])


def client(service: Service) -> Client:
    return Client(service.runtime / "networks/side/control.sock")


def blue(service: Service) -> int:
    """The daemon of the network's partition."""
    return service.main_pid(unit("blue@side"))


def states(side: Client) -> list[str]:
    """Those of its partitions; none while it has no hosting daemon."""
    try:
        return [each["state"] for each in side.call("partition.list")["partitions"]]
    except NotRunning:
        return []


def test_networks_live_apart(service: Service, side: Client) -> None:
    units = service.units()
    assert units[NETWORK_HOST] == units[unit("blue@side")] == units[HOST] == units[unit("blue")] == "active"
    users = {
        Path(f"{service.container.path('/proc')}/{service.main_pid(unit(name))}").stat().st_uid
        for name in ("blue", "blue@side")
    }
    assert len(users) == 2
    daemons = {name: service.main_pid(unit(name)) for name in ("blue", "green")}
    before, former = blue(service), service.main_pid(NETWORK_HOST)

    service.container.run(["kill", "-9", str(former)])
    wait_until(lambda: service.main_pid(NETWORK_HOST) not in (0, former), 15, "its host is started again")
    wait_until(lambda: states(side) == ["up"], 15, "blue is back")
    service.container.systemctl("restart", NETWORK_HOST)
    wait_until(lambda: states(side) == ["up"], 15, "blue is back")
    assert blue(service) == before

    service.container.systemctl("stop", unit("blue@side"))
    wait_until(lambda: blue(service) not in (0, before), 15, "the network has its own daemon again")
    assert {name: service.main_pid(unit(name)) for name in daemons} == daemons
    assert "side" in service.cli("status").stdout

    refused = service.cli("network", "remove", "side", check=False)
    assert (refused.returncode, "blue" in refused.stderr) == (15, True)
    service.cli("network", "remove", "side", "--force")
    assert not {NETWORK_HOST, unit("blue@side")} & service.units().keys()
    assert not service.container.path("/etc/vnicd/networks/side.toml").exists()
    assert not (service.runtime / "networks").exists()
    assert {name: service.main_pid(unit(name)) for name in daemons} == daemons


def test_a_network_is_there_after_a_boot(service: Service, side: Client) -> None:
    service.reboot()
    service.wait_up("blue", "green")
    wait_until(lambda: service.units().get(NETWORK_HOST) == "active", 15, "the network is back")
    assert states(client(service)) == []
    service.container.run(["ip", "netns", "add", "job"])
    service.cli("--network", "side", "partition", "add", "late", "--netns", "job")
    (late,) = client(service).call("partition.list")["partitions"]
    assert late["addresses"] == ["10.77.0.1/24"]
