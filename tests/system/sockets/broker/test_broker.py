"""The broker in a fabric: offers from one partition to another, the table, epochs, restarts, `vnicctl sockets`."""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import in_namespace, socket_in
from tests.framework.fabric.partition import Partition
from tests.framework.sockets import preload
from tests.framework.sockets.preload import Program, address_of
from tests.framework.waiting import wait_until
from tests.system.conftest import Pair
from vnicd.sockets import abi
from vnicd.sockets.abi import BROKER_NAME, Address, Op, Reason

TCP_CLOSE = 7


def program(partition: Partition) -> Program:
    return in_namespace(partition.netns, lambda: Program(BROKER_NAME))


def tcp(partition: Partition, port: int = 0) -> socket.socket:
    """A TCP socket that is bound to the partition's IPv4 address."""
    sock = socket_in(partition.netns, socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((partition.ip, port))
    return sock


@contextmanager
def listening(partition: Partition) -> Iterator[socket.socket]:
    """A listener with the sign of the preload library."""
    with tcp(partition) as sock, socket_in(partition.netns, socket.AF_UNIX, socket.SOCK_DGRAM) as sign:
        sock.listen()
        sock.settimeout(10)
        where = address_of(sock)
        sign.bind(f"\0vnicd-listener/{where.port}/{where.text}")
        yield sock


def number(fabric: Fabric, partition: Partition) -> int:
    return int(fabric.call("partition.show", name=partition.name)["port"])


def test_the_table_has_all_addresses(shared: Fabric, pair: Pair) -> None:
    tables = []
    for partition in pair:
        one = program(partition)
        port, table = one.table()
        assert port == number(shared, partition)
        tables.append(preload.entries(table))
        one.close()
    blue, green = (number(shared, partition) for partition in pair)
    expected = {"10.77.0.1": blue, "fd77::1": blue, "10.77.0.2": green, "fd77::2": green}
    assert tables == [expected, expected]


def test_an_offer_goes_to_another_partition(shared: Fabric, pair: Pair) -> None:
    blue, green = pair
    client, server = program(blue), program(green)
    _, table = client.table()
    with listening(green) as listener, tcp(blue) as sock:
        source, target = address_of(sock), address_of(listener)
        reply, doorbell = client.offer(source, target, sock)
        assert reply.reason == Reason.DIRECT
        assert preload.offers(table, number(shared, green)) == 1
        assert preload.offers(table, number(shared, blue)) == 0
        sock.connect((target.text, target.port))
        accepted, _ = listener.accept()
        assert client.ask(Op.TAKE, source, target, [accepted.fileno()])[0].reason == Reason.NO_OFFER, (
            "it is green's"
        )
        reply, fds = server.ask(Op.TAKE, source, target, [accepted.fileno()])
        assert reply.reason == Reason.DIRECT
        with socket.socket(fileno=fds[0]) as far:
            far.send(b"hello")
            assert doorbell.recv(9) == b"hello"
        os.close(fds[1])
        assert preload.offers(table, number(shared, green)) == 0
        accepted.close()
        doorbell.close()
    client.close()
    server.close()


def test_a_socket_of_another_namespace_is_no_proof(shared: Fabric, pair: Pair) -> None:
    """Anybody can make a namespace of his own in which a connection has the same names at both ends."""
    blue, green = pair
    client, server = program(blue), program(green)
    with ExitStack() as stack:
        listener = stack.enter_context(listening(green))
        sock = stack.enter_context(tcp(blue))
        source, target = address_of(sock), address_of(listener)
        assert client.offer(source, target, sock)[0].reason == Reason.DIRECT
        elsewhere = f"/run/netns/{shared.namespace('fake')}"
        for command in (["link", "set", "lo", "up"], *(["addr", "add", f"{ip}/32", "dev", "lo"] for ip in
                        (source.text, target.text))):  # fmt: skip
            in_namespace(elsewhere, lambda command=command: subprocess.run(["ip", *command], check=True))
        fake = stack.enter_context(socket_in(elsewhere, socket.AF_INET, socket.SOCK_STREAM))
        fake.bind((target.text, target.port))
        fake.listen()
        caller = stack.enter_context(socket_in(elsewhere, socket.AF_INET, socket.SOCK_STREAM))
        caller.bind((source.text, source.port))
        caller.connect((target.text, target.port))
        accepted = stack.enter_context(fake.accept()[0])
        assert server.ask(Op.TAKE, source, target, [accepted.fileno()])[0].reason == Reason.NO_OFFER
    client.close()
    server.close()


def test_a_listener_in_another_partition_does_not_count(shared: Fabric, pair: Pair) -> None:
    """Nor does a program that says that it is in another partition."""
    blue, green = pair
    client = program(blue)
    with listening(blue) as listener:
        target = Address(abi.packed(green.ip), address_of(listener).port)
        source = Address(abi.packed(blue.ip), 30009)
        assert client.offer(source, target)[0].reason == Reason.NO_LIBRARY
    with listening(green) as listener:
        stranger = Address(abi.packed(green.ip), 9)
        assert client.offer(stranger, address_of(listener))[0].reason == Reason.NOT_A_PARTITION
        with tcp(blue, source.port) as sock:
            assert client.offer(source, address_of(listener), sock)[0].reason == Reason.DIRECT
        with pytest.raises(EOFError):  # without one, the offer shows a socket that is not in the partition
            client.offer(source, address_of(listener))
    client.close()


def test_the_table_follows_the_partitions(fabric: Fabric) -> None:
    fabric.up()
    blue = fabric.add("blue", "10.77.0.1/24")
    one = program(blue)
    _, table = one.table()
    before = preload.epoch(table)
    green = fabric.add("green", "10.77.0.2/24")
    assert set(preload.entries(table)) == {"10.77.0.1", "10.77.0.2"}
    assert preload.epoch(table) > before
    other = program(green)
    fabric.cli("partition", "remove", green.name)
    assert set(preload.entries(table)) == {"10.77.0.1"}
    with pytest.raises(EOFError):
        other.reply()
    one.close()
    other.close()


def test_offers_end_with_the_partition_that_they_are_for(fabric: Fabric) -> None:
    fabric.up()
    blue, green = fabric.add("blue", "10.77.0.1/24"), fabric.add("green", "10.77.0.2/24")
    client = program(blue)
    _, table = client.table()
    port = number(fabric, green)
    with listening(green) as listener, tcp(blue) as sock:
        source, target = address_of(sock), address_of(listener)
        reply, doorbell = client.offer(source, target, sock)
        assert reply.reason == Reason.DIRECT
        fabric.cli("partition", "remove", green.name)
        doorbell.settimeout(10)
        assert doorbell.recv(1) == b"", "nobody has the other end of the doorbell"
        assert preload.offers(table, port) == 0
        assert client.offer(source, target, sock)[0].reason == Reason.NOT_A_PARTITION
        doorbell.close()
    client.close()


def is_reset(sock: socket.socket) -> bool:
    """Without taking the error."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE


def test_offers_end_with_the_partition_of_their_program(fabric: Fabric) -> None:
    """As the TCP connection does that waits to be accepted: who accepts it finds it reset."""
    fabric.up()
    blue, green = fabric.add("blue", "10.77.0.1/24"), fabric.add("green", "10.77.0.2/24")
    client, server = program(blue), program(green)
    with listening(green) as listener, tcp(blue) as sock:
        source, target = address_of(sock), address_of(listener)
        assert client.offer(source, target, sock)[0].reason == Reason.DIRECT
        sock.connect((target.text, target.port))
        fabric.cli("partition", "remove", blue.name)
        with pytest.raises(EOFError):
            client.exchange.reply()
        accepted, _ = listener.accept()
        wait_until(lambda: is_reset(accepted), 5, "the reset has come")
        reply, fds = server.ask(Op.TAKE, source, target, [accepted.fileno()])
        assert reply.reason == Reason.NO_OFFER
        assert not fds
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)
        accepted.close()
    client.end()
    server.close()


CHANGES = {
    "a firewall rule": ["nft", "add", "table", "inet", "filter"],
    "a route": ["ip", "route", "add", "192.0.2.0/24", "dev", "lo"],
    "an IPv6 route": ["ip", "route", "add", "2001:db8::/64", "dev", "lo"],
    "an address": ["ip", "address", "add", "192.0.2.1/32", "dev", "lo"],
    "an IPv6 address": ["ip", "address", "add", "fd99::1/128", "dev", "lo", "nodad"],
    "a routing rule": ["ip", "rule", "add", "from", "192.0.2.1", "blackhole"],
    "an IPv6 routing rule": ["ip", "-6", "rule", "add", "from", "fd99::1", "blackhole"],
    "a link": ["ip", "link", "set", "lo", "mtu", "60000"],
    "a traffic control": ["tc", "qdisc", "add", "dev", "lo", "clsact"],
}


@pytest.fixture(scope="module")
def watched(shared: Fabric) -> Partition:
    return shared.add("watched", "10.77.0.9/24")


@pytest.mark.parametrize("what", CHANGES)
def test_changes_of_a_namespace_begin_an_epoch(watched: Partition, what: str) -> None:
    one = program(watched)
    _, table = one.table()
    before = preload.epoch(table)
    watched.run(CHANGES[what])
    wait_until(lambda: preload.epoch(table) > before, 5, f"{what} begins an epoch")
    one.close()


def test_after_a_death_all_is_as_before(fabric: Fabric) -> None:
    """The hosting daemon's: its sockets go with it, and the next one makes them anew."""
    fabric.up()
    blue = fabric.add("blue", "10.77.0.1/24")
    one = program(blue)
    os.kill(fabric.host_pid(), signal.SIGKILL)
    with pytest.raises(EOFError):
        one.reply()
    with pytest.raises(ConnectionRefusedError):
        program(blue)
    fabric.up()
    two = wait_until(lambda: attempt(blue.netns), 10, "the broker is back")
    assert preload.entries(two.table()[1]) == {"10.77.0.1": number(fabric, blue)}
    one.close()
    two.close()


def attempt(netns: str) -> Program | None:
    try:
        return in_namespace(netns, lambda: Program(BROKER_NAME))
    except ConnectionRefusedError:
        return None


def test_a_name_that_somebody_has_stops_nothing(fabric: Fabric) -> None:
    """The partition gets no direct sockets, until the name is free again."""
    fabric.up()
    name = fabric.namespace("taken")
    netns = f"/run/netns/{name}"
    with socket_in(netns, socket.AF_UNIX, socket.SOCK_SEQPACKET) as squatter:
        squatter.bind(f"\0{BROKER_NAME}")
        blue = fabric.add("blue", "10.77.0.1/24", netns=name)
        green = fabric.add("green", "10.77.0.2/24")
        assert blue.ping(green.ip).lost == 0
        one = program(green)
        _, table = one.table()
        assert set(preload.entries(table)) == {"10.77.0.2"}
    wait_until(lambda: set(preload.entries(table)) == {"10.77.0.1", "10.77.0.2"}, 10, "blue has its place")
    one.close()
    assert "no direct sockets" in fabric.logs()


def test_a_namespace_without_a_name_is_served_on(fabric: Fabric) -> None:
    """Also by the next hosting daemon, which has no path to it but the partition's interface."""
    fabric.up()
    name = fabric.namespace("container")
    blue = fabric.add("blue", "10.77.0.1/24", netns=name)
    inside = blue.popen(["sleep", "60"])
    subprocess.run(["ip", "netns", "del", name], check=True)
    os.kill(fabric.host_pid(), signal.SIGKILL)
    fabric.up()
    netns = f"/proc/{inside.pid}/ns/net"
    one = wait_until(lambda: attempt(netns), 10, "the broker is there")
    assert preload.entries(one.table()[1]) == {"10.77.0.1": 1}
    fabric.cli("partition", "remove", blue.name)
    with pytest.raises(EOFError):
        one.reply()
    one.close()


# -------------------------------------------------------------------------------------------------- vnicctl sockets


@contextmanager
def pretended(client: Partition, server: Partition) -> Iterator[tuple[int, int]]:
    """Two programs that have each a region of one connection, and a page about themselves; their pids."""
    ends = Address(abi.packed(client.ip), 40000), Address(abi.packed(server.ip), 6379)
    with ExitStack() as stack:
        pids = []
        for partition, order, accepted in ((client, ends, False), (server, ends[::-1], True)):
            process = partition.popen(
                preload.command(*order, accepted),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=preload.ROOT,
            )
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            pids.append(process.pid)
            stack.callback(process.wait, 10)
            stack.callback(process.kill)
        yield pids[0], pids[1]


def test_connections_are_found_in_the_programs(shared: Fabric, pair: Pair) -> None:
    blue, green = pair
    with pretended(blue, green) as (client, server):
        data = json.loads(shared.cli("sockets", "--json").stdout)
        shown = shared.cli("sockets").stdout
    assert data["connections"] == [
        {
            "client": {"address": blue.ip, "port": 40000, "partition": blue.name, "container": None, "pids": [client],
                       "program": "pretender", "sent": 10, "wakeups": 3},
            "server": {"address": green.ip, "port": 6379, "partition": green.name, "container": None, "pids": [server],
                       "program": "pretender", "sent": 20, "wakeups": 3},
            "state": "up",
        }
    ]  # fmt: skip
    assert {row["pid"]: row["partition"] for row in data["processes"]} == {
        client: blue.name,
        server: green.name,
    }
    assert data["processes"][0]["recent"][0]["reason"] == "the server runs without the library"
    assert f"{blue.name}:40000" in shown
    assert f"{green.name}:6379" in shown
    assert "the server runs without the library" in shown
    assert json.loads(shared.cli("sockets", "--json").stdout)["connections"] == []


def test_programs_elsewhere_are_not_looked_at(shared: Fabric, pair: Pair) -> None:
    fd = preload.make_stream_region()
    with mmap.mmap(fd, abi.REGION_BYTES) as own:
        own[: abi.CONTROL_BYTES] = preload.stream_region_page(abi.NOWHERE, abi.NOWHERE)
        assert shared.call("sockets.list") == {"connections": [], "processes": [], "truncated": False}
    os.close(fd)
