"""Single published ports: they come and go beside others, answer on 127.0.0.1, and what can't be is refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.traffic import forge
from tests.framework.traffic.datagrams import udp
from tests.framework.traffic.frames import frame
from tests.framework.traffic.streams import listen, receive_exactly
from tests.framework.uplink.uplink import Uplinked
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeMachine

HERE = "10.0.0.2"
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def nat(make_module_machine: MakeMachine) -> Uplinked:
    return Uplinked.start(make_module_machine(), "nat")


def publish(nat: Uplinked, *words: str, check: bool = True) -> int:
    return nat.machine.fabric.cli("publish", *words, check=check).returncode


def published(nat: Uplinked) -> list[str]:
    return [each["publish"] for each in nat.machine.fabric.json("publish", "list")["published"]]


def connect_to(
    client: Partition, listener: socket.socket, address: str, port: int
) -> tuple[socket.socket, socket.socket]:
    near = client.socket(socket.AF_INET, socket.SOCK_STREAM)
    near.settimeout(10)
    near.connect((address, port))
    far = client.fabric.on_close(listener.accept()[0])
    far.settimeout(10)
    talk(near, far)
    return near, far


def talk(near: socket.socket, far: socket.socket) -> None:
    for one, other in ((near, far), (far, near)):
        one.sendall(b"x" * 10_000)
        assert receive_exactly(other, 10_000) == b"x" * 10_000


def is_refused(client: Partition, address: str, port: int) -> bool:
    with client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        return sock.connect_ex((address, port)) != 0


def test_a_port_comes_and_goes_beside_a_connection(nat: Uplinked) -> None:
    """Another port's connection goes on meanwhile, and a restart of the host forgets nothing."""
    web = nat.web.name
    publish(nat, "add", f"8080:{web}:80")
    with listen(nat.web, "0.0.0.0", 80) as server:
        near, far = connect_to(nat.remote, server, HERE, 8080)
        talk(near, far)
        publish(nat, "add", f"8081:{web}:81", f"{LOOPBACK}:8082:{web}:80")
        talk(near, far)
        connect_to(nat.here, server, LOOPBACK, 8080)
        connect_to(nat.here, server, HERE, 8080)
        connect_to(nat.here, server, LOOPBACK, 8082)
        assert is_refused(nat.remote, HERE, 8082)
        nat.machine.kill_host()
        nat.machine.fabric.up()
        assert published(nat) == [f"8080:{web}:80", f"8081:{web}:81", f"{LOOPBACK}:8082:{web}:80"]
        publish(nat, "rm", "8081", f"{LOOPBACK}:8082:{web}:80")
        talk(near, far)
        assert is_refused(nat.here, LOOPBACK, 8082)
        publish(nat, "remove", "8080")
        assert is_refused(nat.remote, HERE, 8080)


def test_partitions_do_not_reach_the_loopback_interface(nat: Uplinked) -> None:
    """Though packets for it may pass port 0's interface for the machine itself."""
    publish(nat, "add", f"8080:{nat.web.name}:80")
    gateway = nat.machine.port0
    with udp(nat.here, LOOPBACK, 9) as inner, udp(nat.here, gateway.ip, 9) as outer:
        for target in (LOOPBACK, gateway.ip):
            kind, packet = forge.udp(nat.web.ip, target, target.encode())
            forge.say(nat.web, frame(gateway.mac, nat.web.mac, kind, packet))
        assert outer.recv(100) == gateway.ip.encode()
        inner.setblocking(False)
        with pytest.raises(BlockingIOError):
            inner.recv(100)
    publish(nat, "remove", "8080")


def test_a_udp_client_that_was_there_before(nat: Uplinked) -> None:
    """It sent before the port was published, and goes on across the end and return of the partition."""
    fabric = nat.machine.fabric
    dns = fabric.add("dns", "10.78.0.50/24")
    with udp(nat.remote) as client, udp(nat.here, LOOPBACK) as local:
        clients = ((client, HERE), (local, LOOPBACK))

        def reaches(server: socket.socket) -> None:
            server.settimeout(0.2)
            for sock, address in clients:
                sock.sendto(b"hello", (address, 5300))
                wait_until(lambda: server.recv(100) == b"hello", 5, f"it is reached at {address}")

        for sock, address in clients:
            sock.sendto(b"early", (address, 5300))
        publish(nat, "add", f"5300:{dns.name}:5353/udp")
        with udp(dns, port=5353) as server:
            reaches(server)
        fabric.cli("partition", "remove", dns.name)
        for sock, address in clients:
            sock.sendto(b"meanwhile", (address, 5300))
        dns = fabric.add("dns", "10.78.0.51/24")
        with udp(dns, port=5353) as server:
            reaches(server)
        nat.here.run(["nft", "flush", "ruleset"])
        for sock, address in clients:
            sock.sendto(b"meanwhile", (address, 5300))
        publish(nat, "add", f"5301:{dns.name}:5353/udp")  # mends the rest, too
        with udp(dns, port=5353) as server:
            reaches(server)
    publish(nat, "rm", "5300/udp", "5301/udp")
    fabric.cli("partition", "remove", dns.name)


def test_what_is_refused(nat: Uplinked, tmp_path: Path) -> None:
    """By `publish add`, `uplink set` and `apply` alike; and nothing is changed."""
    fabric, web = nat.machine.fabric, nat.web.name
    publish(nat, "add", f"8080:{web}:80")
    before = published(nat)
    cases = (
        ("9000:nobody:80", 5, "no partition nobody"),
        (f"10.9.9.9:9000:{web}:80", 7, "10.9.9.9 is no address of this machine"),
        (f"7000:{web}:80", 15, "port 7000/tcp can't be published: a program"),
        (f"7001:{web}:80/udp", 15, "port 7001/udp can't be published: a program"),
    )
    with listen(nat.here, LOOPBACK, 7000), udp(nat.here, HERE, 7001):
        for text, code, reason in cases:
            for command in (
                ("publish", "add", f"9999:{web}:80", text),
                ("uplink", "set", "eth1", "--mode", "nat", "--publish", text),
            ):
                done = fabric.cli(*command, check=False)
                assert (done.returncode, done.stdout) == (code, ""), command
                assert reason in done.stderr
            assert published(nat) == before
        assert publish(nat, "add", f"8080:{web}:81", check=False) == 6
        assert publish(nat, "add", f"9000:{web}:80", f"9000:{web}:80", check=False) == 6
        assert published(nat) == before
        file = tmp_path / "fabric.toml"
        new = fabric.name("new")
        exported = fabric.cli("config", "export").stdout
        file.write_text(exported.replace("8080:80", "7000:80"))
        done = fabric.cli("apply", str(file), check=False)
        assert (done.returncode, "port 7000/tcp" in done.stdout) == (16, True)
        assert published(nat) == before
        file.write_text(f'{exported}\n[partitions.{new}]\npublish = ["9000:90"]\n')
        fabric.cli("apply", str(file))
        assert set(published(nat)) == {*before, f"9000:{new}:90"}
    file.write_text(exported)
    fabric.cli("apply", str(file))
    assert published(nat) == before
