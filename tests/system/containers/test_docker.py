"""Docker uses vnicd by its network driver: networks, containers, ports, and what survives which death."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.framework.containers import images
from tests.framework.containers.docker import Docker, DockerContainer
from tests.framework.containers.machine import RuntimeMachine
from tests.framework.containers.needs import DOCKER, need
from tests.framework.waiting import wait_until
from vnicd.config import Paths
from vnicd.protocol.control import Client

TIMEOUT = 30

COMPOSED = """\
version: "2.4"
services:
  web:
    image: {image}
    networks: {{back: {{ipv4_address: 10.92.0.9}}}}
  client:
    image: {image}
    networks: [back]
networks:
  back:
    driver: vnicd
    driver_opts: {{vnicd.network: default}}
    ipam: {{config: [{{subnet: 10.92.0.0/24}}]}}
"""
NETWORK, SUBNET = "fast", "10.89.0.0/24"


@pytest.fixture(scope="module")
def docker(request: pytest.FixtureRequest) -> Docker:
    need(*DOCKER)
    machine: RuntimeMachine = request.getfixturevalue("runtime_machine")
    found = Docker(machine).start()
    found.cli(
        *("network", "create", "--driver", "vnicd", "--ipv6", "--opt", "vnicd.network=default"),
        *("--subnet", SUBNET, "--subnet", "fd89::/64", NETWORK),
    )
    return found


@pytest.fixture
def peer(docker: Docker) -> Iterator[DockerContainer]:
    found = docker.run(images.busybox(), options=["--network", NETWORK, "--name", "peer"])
    yield found
    found.remove()
    assert partitions(docker) == {}


def call(docker: Docker, method: str, network: str) -> Any:
    """The answer of a network's hosting daemon."""
    root = docker.machine.fabric.runtime
    return Client(Paths(root).of_network(network).control).call(method)


def partitions(docker: Docker, network: str = "default") -> dict[str, Any]:
    """Those that there are, by their names."""
    found = call(docker, "partition.list", network)["partitions"]
    return {each["name"]: each for each in found}


def arrived(docker: Docker, container: DockerContainer, network: str = NETWORK) -> dict[str, Any]:
    """The partition of a container, whose interface is in it."""
    name = container.partition(network)
    wait_until(lambda: partitions(docker)[name]["handover"] == "done", TIMEOUT, f"{name} has arrived")
    return dict(partitions(docker)[name])


def test_two_containers_talk(docker: Docker, peer: DockerContainer) -> None:
    options = ["--network", NETWORK, "--ip", "10.89.0.77", "--mac-address", "02:00:00:00:77:01"]
    container = docker.run(images.busybox(), options=[*options, "--name", "web"])
    assert container.pings("peer")
    assert peer.pings("10.89.0.77")
    assert container.pings(peer.network(NETWORK)["GlobalIPv6Address"])
    partition = arrived(docker, container)
    assert partition["mac"] == container.network(NETWORK)["MacAddress"] == "02:00:00:00:77:01"
    assert partition["ifname"] == "eth0"
    assert partition["netns_inode"] == container.namespace_inode
    assert arrived(docker, peer)["mac"] == peer.network(NETWORK)["MacAddress"]
    # Everything is as it was declared, though Docker has made it.
    assert [each["drift"] for each in partitions(docker).values()] == [[], []]
    container.remove()
    assert set(partitions(docker)) == {peer.partition(NETWORK)}


def test_a_container_begins_anew(docker: Docker, peer: DockerContainer) -> None:
    container = docker.run(images.busybox(), options=["--network", NETWORK])
    address = container.network(NETWORK)["IPAddress"]
    docker.cli("restart", "--time", "0", container.id)
    assert peer.pings(address)
    docker.cli("kill", container.id)
    wait_until(lambda: set(partitions(docker)) == {peer.partition(NETWORK)}, TIMEOUT, "its partition is gone")
    docker.cli("start", container.id)
    assert peer.pings(container.network(NETWORK)["IPAddress"])
    container.remove()


def test_a_container_in_two_networks(docker: Docker, peer: DockerContainer) -> None:
    docker.cli(
        "network",
        "create",
        "-d",
        "vnicd",
        "-o",
        "vnicd.network=default",
        "--subnet",
        "10.90.0.0/24",
        "second",
    )
    docker.cli("network", "connect", "--ip", "10.90.0.9", "second", peer.id)
    other = docker.run(images.busybox(), options=["--network", "second"])
    assert other.pings("10.90.0.9")
    assert arrived(docker, peer, "second")["ifname"] == "eth1"
    gone = peer.partition("second")
    docker.cli("network", "disconnect", "second", peer.id)
    assert gone not in partitions(docker)
    other.remove()
    docker.cli("network", "rm", "second")


def test_daemons_of_vnicd_die(docker: Docker, peer: DockerContainer) -> None:
    """The partition daemon alone, then with the hosting daemon, which has to make the interface anew where it is."""
    container = docker.run(images.busybox(), options=["--network", NETWORK])
    address = container.network(NETWORK)["IPAddress"]
    before = arrived(docker, container)
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(
        lambda: (
            partitions(docker)[before["name"]]["restarts"] == 1
            and partitions(docker)[before["name"]]["state"] == "up"
        ),
        TIMEOUT,
        "it is served again",
    )
    assert peer.pings(address)
    fabric = docker.machine.fabric
    pids = [fabric.call("fabric.ping")["pid"], partitions(docker)[before["name"]]["pid"]]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    fabric.up()
    wait_until(lambda: peer.pings(address), TIMEOUT, "it answers again")
    after = partitions(docker)[before["name"]]
    assert (after["netns_inode"], after["ifname"]) == (before["netns_inode"], "eth0")
    container.remove()


def test_the_driver_dies(docker: Docker, peer: DockerContainer) -> None:
    """What goes on goes on, and the next driver knows the networks."""
    assert docker.driver is not None
    docker.driver.kill()
    docker.driver.wait(TIMEOUT)
    docker.start_driver()
    container = docker.run(images.busybox(), options=["--network", NETWORK])
    assert container.pings("peer")
    container.remove()


def test_docker_dies(docker: Docker) -> None:
    """The next one ends the containers, and takes away what they had."""
    docker.run(images.busybox(), options=["--network", NETWORK, "--name", "left"])
    assert docker.daemon is not None
    docker.daemon.kill()
    docker.daemon.wait(TIMEOUT)
    docker.start_daemon()
    docker.cli("rm", "--force", "left")
    wait_until(lambda: not partitions(docker), TIMEOUT, "its partition is gone")


def test_without_a_fabric(docker: Docker, peer: DockerContainer) -> None:
    """Docker's user is told in one line; what is removed meanwhile ends when there is a fabric again."""
    fabric = docker.machine.fabric
    container = docker.run(images.busybox(), options=["--network", NETWORK])
    arrived(docker, container)
    os.kill(fabric.call("fabric.ping")["pid"], signal.SIGKILL)
    failed = docker.cli("run", "--rm", "--network", NETWORK, docker.load(images.busybox()), check=False)
    assert failed.returncode and "no hosting daemon answers at" in failed.stderr
    container.remove()
    fabric.up()
    wait_until(lambda: set(partitions(docker)) == {peer.partition(NETWORK)}, TIMEOUT, "it has ended")


def test_bad_options(docker: Docker) -> None:
    for option, text in (
        ("vnicd.mode=fast", "has no option vnicd.mode"),
        ("vnicd.network=absent", "there is no network absent"),
        ("vnicd.rate=much", "'much' is not a rate"),
        ("com.docker.network.driver.mtu=12", "the MTU must be"),
    ):
        failed = docker.cli("network", "create", "-d", "vnicd", "-o", option, "bad", check=False)
        assert failed.returncode and text in failed.stderr


def test_published_ports(docker: Docker) -> None:
    machine = docker.machine
    for words in (
        "netns add outside",
        "link add nic0 type veth peer name out0 netns outside",
        "address add 192.0.2.1/24 dev nic0",
        "link set nic0 up",
        "-n outside address add 192.0.2.2/24 dev out0",
        "-n outside link set out0 up",
    ):
        machine.run(["ip", *words.split()])
    create = ("network", "create", "--driver", "vnicd", "--opt", "vnicd.nic=nic0")
    network = f"docker-{docker.cli(*create, '--subnet', '10.78.0.0/24', 'out').stdout[:12]}"
    options = ["--network", "out", "--publish", "8080:80", "--publish", "9000-9001:53/udp"]
    container = docker.run(
        images.busybox(), "sh", "-c", "echo hello > index.html; httpd -f -p 80", options=options
    )
    fetch = ["ip", "netns", "exec", "outside", "busybox", "wget", "-qO-", "http://192.0.2.1:8080/"]
    wait_until(lambda: machine.run(fetch, check=False).stdout == "hello\n", TIMEOUT, "it answers outside")
    assert container.pings("192.0.2.2")
    assert container.network("out")["Gateway"] == "10.78.0.1"
    again = docker.cli("run", "--rm", *options, docker.load(images.busybox()), check=False)
    assert again.returncode and "8080" in again.stderr
    assert len(call(docker, "publish.list", network)["published"]) == 2
    container.remove()
    assert call(docker, "publish.list", network)["published"] == []
    docker.cli("network", "rm", "out")


def test_a_network_of_its_own(docker: Docker, peer: DockerContainer) -> None:
    """It is cut off from others, has no way out if it is internal, and goes when Docker's does."""
    ident = docker.cli(
        "network", "create", "-d", "vnicd", "--internal", "--subnet", "10.91.0.0/24", "own"
    ).stdout
    network = f"docker-{ident[:12]}"
    one, other = (docker.run(images.busybox(), options=["--network", "own"]) for _ in range(2))
    assert one.pings(other.network("own")["IPAddress"])
    assert not one.pings(peer.network(NETWORK)["IPAddress"])
    assert set(partitions(docker, network)) == {one.partition("own"), other.partition("own")}
    assert "default" not in one.exec("ip", "route")
    one.remove()
    other.remove()
    docker.cli("network", "rm", "own")
    assert docker.machine.fabric.json("network", "list")["networks"][1:] == []


def test_a_compose_file(docker: Docker) -> None:
    need("docker-compose")
    file = f"{docker.folder}/app/docker-compose.yml"
    docker.machine.write(file, COMPOSED.format(image=docker.load(images.busybox())))
    compose = ["docker-compose", "--file", file]
    docker.machine.run([*compose, "up", "--detach"], env=docker.env)
    ping = [*compose, "exec", "-T", "client", "ping", "-c", "1", "web"]
    said = docker.machine.run(ping, env=docker.env).stdout
    assert "10.92.0.9" in said and "1 packets received" in said
    assert len(partitions(docker)) == 2
    docker.machine.run([*compose, "down", "--timeout", "0"], env=docker.env)
    assert partitions(docker) == {}
