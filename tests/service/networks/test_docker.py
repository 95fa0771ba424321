"""Docker's driver as a unit: confined as it is, it makes networks, and has partitions added."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import Service
from vnicd.docker import naming
from vnicd.docker.main import SOCKET

NETWORK, ENDPOINT = "1a" * 32, "2b" * 32

ASK = """
import http.client, socket, sys
connection = http.client.HTTPConnection("docker")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("POST", sys.argv[2], sys.argv[3])
print(connection.getresponse().read().decode())
"""


def ask(service: Service, method: str, **call: Any) -> Any:
    """What the driver answers, whose unit is started by that."""
    words = ["python3", "-c", ASK, str(SOCKET), f"/{method}", json.dumps(call)]
    answer = json.loads(service.container.run(words).stdout)
    assert "Err" not in answer, answer
    return answer


@pytest.fixture
def driver(service: Service, pair: Pair) -> Iterator[Service]:
    """The service, with the socket of Docker's driver open."""
    service.container.systemctl("start", "vnicd-docker.socket")
    yield service
    service.container.systemctl("stop", "vnicd-docker.socket", "vnicd-docker.service")
    service.cli("network", "remove", naming.network(NETWORK), "--force", check=False)


def test_it_serves_docker(driver: Service) -> None:
    service, container = driver, driver.container
    assert ask(service, "Plugin.Activate") == {"Implements": ["NetworkDriver"]}
    options = {"com.docker.network.generic": {"vnicd.uplink": "none"}}
    pools = [{"Pool": "10.93.0.0/24", "Gateway": "10.93.0.1/24"}]
    ask(service, "NetworkDriver.CreateNetwork", NetworkID=NETWORK, Options=options, IPv4Data=pools)
    ids = {"NetworkID": NETWORK, "EndpointID": ENDPOINT}
    ask(service, "NetworkDriver.CreateEndpoint", **ids, Interface={"Address": "10.93.0.2/24"})
    network, name = naming.network(NETWORK), naming.partition(ENDPOINT)
    assert container.show(f"vnicd-network@{network}", "ActiveState") == "active"
    shown = json.loads(service.cli("--network", network, "partition", "show", name, "--json").stdout)
    assert (shown["state"], shown["handover"]) == ("up", "waiting")
    # It remembers what Docker said, and is started again when Docker asks.
    container.systemctl("stop", "vnicd-docker.service")
    joined = ask(service, "NetworkDriver.Join", **ids, SandboxKey="/run/docker/netns/1")
    assert joined["InterfaceName"]["SrcName"] == naming.interface(ENDPOINT)
    ask(service, "NetworkDriver.DeleteEndpoint", **ids)
    ask(service, "NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    wait_until(lambda: network not in service.cli("network", "list").stdout, 15, "the network is gone")
