"""Two networks with the same addresses: nothing of one is seen in the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.machine import memfds
from tests.framework.fabric.network import Network
from tests.framework.fabric.partition import Partition
from tests.framework.sockets.direct import End
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, Tap, frame
from tests.framework.waiting import wait_for_output, wait_until
from tests.system.conftest import MakeFabric

SECRET, END = b"the secret of one", b"the end"
SUBNET = "10.88.0.0/24"
PORT = 7070

ANSWER = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    sock, peer = server.accept()
    sock.sendall(sys.argv[2].encode())
    sock.close()
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as sock:
    print(sock.recv(99).decode())
"""

Four = tuple[Partition, Partition, Partition, Partition]


@pytest.fixture(scope="module")
def default(make_module_fabric: MakeFabric) -> Fabric:
    return make_module_fabric()


@pytest.fixture(scope="module")
def networks(default: Fabric) -> tuple[Network, Network]:
    options = ("--uplink", "internal", "--subnet", SUBNET)
    return Network(default, "one").begin(*options), Network(default, "other").begin(*options)


@pytest.fixture(scope="module")
def four(networks: tuple[Network, Network]) -> Four:
    """A pair in each network, with the same addresses."""
    one, other = networks
    return one.add("a1"), one.add("a2"), other.add("b1"), other.add("b2")


def test_frames_stay_in_their_network(four: Four) -> None:
    """Broadcasts, unicast to the other's MAC, and what the other's partitions are asked for."""
    a1, a2, b1, b2 = four
    assert (a1.addresses, a2.addresses) == (b1.addresses, b2.addresses)
    assert len({each.mac for each in four}) == 4
    ears = Tap(b1), Tap(b2)
    sender, within = Tap(a1), Tap(a2)
    for to in (BROADCAST, "33:33:00:00:00:01", b1.mac, b2.mac, a2.mac):
        sender.send(frame(to, a1.mac, EXPERIMENTAL, SECRET))
    a1.ping(a2.ip)
    assert [one.to for one in within.receive(SECRET)], "its own network hears it"
    assert a1.drops["no_destination"] >= 2
    Tap(b1).send(frame(BROADCAST, b1.mac, EXPERIMENTAL, END))
    Tap(b2).send(frame(BROADCAST, b2.mac, EXPERIMENTAL, END))
    for ear in ears:
        for seen in ear.receive(END):
            assert seen.source in (b1.mac, b2.mac) and SECRET not in seen.payload, seen


def test_no_memory_is_shared(four: Four, networks: tuple[Network, Network]) -> None:
    one, other = (memfds(network.pids()) for network in networks)
    assert one and other and not set(one) & set(other)


def test_names_are_those_of_the_own_network(four: Four) -> None:
    a1, a2, b1, b2 = four
    for asker, own, foreign in ((a1, a2, b2), (b1, b2, a2)):
        found = asker.fabric.cli("exec", asker.name, "--", "getent", "hosts", own.name, check=False)
        assert found.stdout.split()[:1] == [own.ip]
        found = asker.fabric.cli("exec", asker.name, "--", "getent", "hosts", foreign.name, check=False)
        assert found.returncode


def ask(end: End, address: str) -> str:
    return end.run([sys.executable, "-c", ASK, address, str(PORT)], check=False).stdout.strip()


def directly(network: Network) -> list[str]:
    """What programs of a network have decided."""
    return [word for row in network.call("sockets.list")["processes"] for word in row["decided"]]


@pytest.fixture
def answering(four: Four) -> Iterator[None]:
    """Servers with the library, at the same address and port, that say where they are; only the other's at first."""
    with End(four[3], True).running([sys.executable, "-c", ANSWER, str(PORT), "other"]) as server:
        assert server.stdout
        wait_for_output(server.stdout, b"ready", 20)
        yield


def test_direct_sockets_stay_in_their_network(
    four: Four, networks: tuple[Network, Network], answering: None
) -> None:
    a1, a2, b1, _ = (End(each, True) for each in four)
    assert ask(a1, a2.ip) == ""
    assert ask(b1, a2.ip) == "other"
    with a2.running([sys.executable, "-c", ANSWER, str(PORT), "one"]) as server:
        assert server.stdout
        wait_for_output(server.stdout, b"ready", 20)
        assert (ask(a1, a2.ip), ask(b1, a2.ip)) == ("one", "other")


def test_a_namespace_in_two_networks(networks: tuple[Network, Network], four: Four, answering: None) -> None:
    """Frames go by both; direct sockets are the first network's, and the second's are plain TCP."""
    one, other = networks
    namespace = one.default.namespace("both")
    first = one.add("both", netns=namespace, ifname="eth0")
    second = other.add("both", "10.88.0.77/24", netns=namespace, ifname="eth1")
    b2 = four[3]
    first.run(["ip", "link", "set", "lo", "up"])
    first.run(["ip", "route", "add", b2.ip, "dev", "eth1", "src", second.ip])
    assert ask(End(second, True), b2.ip) == "other"
    assert b2.ping(second.ip).lost == 0
    assert four[0].ping(first.ip).lost == 0
    told = [each for each in other.doctor() if second.name in each["detail"]]
    assert {(each["name"], each["status"]) for each in told} == {("sockets", "ok"), ("names", "ok")}
    one.cli("partition", "remove", first.name)
    wait_until(
        lambda: not [each for each in other.doctor() if second.name in each["detail"]], 20, "it has them now"
    )
    other.cli("partition", "remove", second.name)
