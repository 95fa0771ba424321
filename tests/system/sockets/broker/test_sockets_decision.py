"""Direct sockets: how a program learns that a connection can't be direct, with the broker's resolver and without it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import socket_in
from tests.framework.fabric.partition import Partition
from tests.framework.programs import PROGRAMS
from tests.framework.sockets.direct import End, Ends
from tests.framework.waiting import wait_until
from vnicd.host.broker.presence import MOST_LISTENERS
from vnicd.sockets import abi, presence_names
from vnicd.sockets.abi import BROKER_NAME

PORT = 7301
PORT_NAME = f"\0vnicd-presence/port/{PORT}".encode()

DECIDE = [str(PROGRAMS / "broker/decides.py"), str(PORT)]

ECHO = [str(PROGRAMS / "broker/answers.py"), str(PORT)]

MANY = [str(PROGRAMS / "broker/listens.py")]

ASK = [str(PROGRAMS / "broker/asks.py"), str(PORT)]


@pytest.fixture
def small(fabric: Fabric) -> Iterator[Ends]:
    fabric.up()
    blue, green = fabric.add("blue", "10.77.0.1/16"), fabric.add("green", "10.77.0.2/16")
    yield Ends(End(blue, True), End(green, True))


def decides(ends: Ends, address: str, why: str, has_table: bool) -> None:
    """A program that connects there finds that, and has not kept a connection to the broker."""
    with ends.client.running([sys.executable, *DECIDE, address]) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        (page,) = [row for row in ends.fabric.call("sockets.list")["processes"] if row["pid"] == process.pid]
        assert [each["why"] for each in page["recent"]] == [why]
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert ("vnicd-table" in maps) == has_table
        fds = [str(fd.readlink()) for fd in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert sum(fd.startswith("socket:") for fd in fds) == 1, "its own"


def becomes_direct(ends: Ends) -> bool:
    said = ends.client.feed([sys.executable, *ASK], ends.server.ip.encode())
    return said.strip() == b"True"


def test_no_partition_is_known_by_its_name(small: Ends) -> None:
    decides(small, "10.77.0.9", "not_a_partition", has_table=False)


def test_no_library_is_known_by_its_name(small: Ends) -> None:
    with small.client.running([sys.executable, *MANY, small.client.ip, "1"]) as other:
        assert other.stdout
        assert other.stdout.readline() == b"ready\n"
        decides(small, small.server.ip, "no_library", has_table=False)


def test_no_library_is_told_by_the_resolver(small: Ends) -> None:
    """When somebody else listens with it at this port."""
    with small.client.serving([sys.executable, *ECHO, small.client.ip], PORT):
        decides(small, small.server.ip, "no_library", has_table=True)
    wait_until(lambda: not is_bound(small.client.partition, PORT_NAME), 10, "its port has no name any more")
    decides(small, small.server.ip, "no_library", has_table=False)


@pytest.mark.parametrize("count", [presence_names.NAMED_PORTS + 1, MOST_LISTENERS + 1])
def test_with_many_listeners_the_resolver_says_it(small: Ends, count: int) -> None:
    """Of all, or of one partition, whose listeners are looked for again when programs have gone."""
    assert is_bound(small.client.partition, presence_names.PORTS)
    with small.server.running([sys.executable, *MANY, small.server.ip, str(count)]) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert not is_bound(small.client.partition, presence_names.PORTS)
        decides(small, small.server.ip, "no_library", has_table=True)
        with small.server.serving([sys.executable, *ECHO, small.server.ip], PORT):
            assert becomes_direct(small)
    wait_until(lambda: is_bound(small.client.partition, presence_names.PORTS), 10, "ports have names again")
    with small.server.serving([sys.executable, *ECHO, small.server.ip], PORT):
        assert becomes_direct(small)


def test_a_listener_is_known_to_the_next_broker(small: Ends) -> None:
    with small.server.serving([sys.executable, *ECHO, small.server.ip], PORT):
        os.kill(small.fabric.host_pid(), signal.SIGKILL)
        small.fabric.up()
        wait_until(lambda: is_bound(small.client.partition, presence_names.PORTS), 10, "ports have names")
        assert becomes_direct(small)


def test_listeners_that_have_ended_make_room(small: Ends) -> None:
    """Though their program goes on, as one does that has a listener for each transfer."""
    with small.server.running([sys.executable, *MANY, small.server.ip, "100"]) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert not is_bound(small.client.partition, presence_names.PORTS)
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(
            lambda: is_bound(small.client.partition, presence_names.PORTS), 10, "ports have names again"
        )


def test_listeners_that_begin_while_the_host_has_no_time(small: Ends) -> None:
    """They wait for it no longer than a moment, and are known as soon as it goes on."""
    ports = range(PORT, PORT + 3)
    argv = [sys.executable, *MANY, small.server.ip, "0", *map(str, ports)]
    host = small.fabric.host_pid()
    with stopped(host), small.server.running(argv) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        os.kill(host, signal.SIGCONT)
        for port in ports:
            name = f"\0vnicd-presence/port/{port}".encode()
            wait_until(lambda name=name: is_bound(small.client.partition, name), 10, "it is known")  # type: ignore[misc]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_second_listener_at_an_address_takes_over(small: Ends) -> None:
    """The first has the name; when it has ended, the second makes itself known as soon as it is reached by TCP."""
    serve = [sys.executable, *ECHO, small.server.ip]
    with small.server.running(serve) as first, small.server.running(serve) as second:
        for process in (first, second):
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        with small.client.running([sys.executable, *ASK]) as asking:
            assert is_direct(asking, small.server.ip)
            first.kill()
            first.wait()
            wait_until(lambda: is_direct(asking, small.server.ip), 10, "connections are direct again")


def test_in_a_large_fabric_the_resolver_says_it(small: Ends) -> None:
    """Names come and go with the addresses."""
    many = [f"10.77.1.{number}/16" for number in range(1, 17)]
    for label, ips in (("one", many), ("two", [ip.replace("77.1", "77.2") for ip in many])):
        small.fabric.add(label, *ips)
    assert len(many) * 2 + 2 > presence_names.NAMED_ADDRESSES
    wait_until(
        lambda: not is_bound(small.client.partition, presence_names.EXACT),
        10,
        "addresses have no names any more",
    )
    decides(small, "10.77.0.9", "not_a_partition", has_table=True)
    with small.server.serving([sys.executable, *ECHO, small.server.ip], PORT):
        assert becomes_direct(small)
    small.fabric.cli("partition", "remove", small.fabric.name("two"))
    wait_until(
        lambda: is_bound(small.client.partition, presence_names.EXACT), 10, "addresses have names again"
    )
    decides(small, "10.77.0.9", "not_a_partition", has_table=False)


def is_bound(partition: Partition, name: bytes) -> bool:
    with socket_in(partition.netns, socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.connect_ex(name) == 0


def test_without_a_resolver_the_broker_is_asked(fabric: Fabric) -> None:
    fabric.up()
    name = fabric.namespace("taken")
    with socket_in(f"/run/netns/{name}", socket.AF_UNIX, socket.SOCK_SEQPACKET) as squatter:
        squatter.bind(f"\0{BROKER_NAME}{abi.RESOLVER}")  # and nobody listens
        blue = fabric.add("blue", "10.77.0.1/24", netns=name)
        green = fabric.add("green", "10.77.0.2/24")
        ends = Ends(End(blue, True), End(green, True))
        with ends.server.serving([sys.executable, *ECHO, green.ip], PORT):
            assert becomes_direct(ends)
        with End(green, False).serving([sys.executable, *ECHO, green.ip], PORT):
            assert not becomes_direct(ends)


def is_direct(process: subprocess.Popen[bytes], address: str) -> bool:
    """Whether the next connection of a program that runs ASK has become direct."""
    assert process.stdin and process.stdout
    process.stdin.write(address.encode() + b"\n")
    return {b"True\n": True, b"False\n": False}[process.stdout.readline()]


def test_a_table_of_an_old_broker_does_no_harm(small: Ends) -> None:
    """A program that has asked one, and offered nothing, goes on with the next, and finds what is new."""
    serve = [sys.executable, *ECHO]
    with small.client.running([sys.executable, *ASK]) as process:
        with End(small.server.partition, False).serving([*serve, small.server.ip], PORT):
            assert not is_direct(process, small.server.ip)
        os.kill(small.fabric.host_pid(), signal.SIGKILL)
        small.fabric.up()
        red = small.fabric.add("red", "10.77.0.3/16")
        with End(red, True).serving([*serve, red.ip], PORT):
            assert is_direct(process, red.ip)
        with small.server.serving([*serve, small.server.ip], PORT):  # which is remembered for a second
            wait_until(lambda: is_direct(process, small.server.ip), 10, "it has the preload library now")


SHORT = [str(PROGRAMS / "broker/talks.py"), str(PORT)]

ANSWER = [str(PROGRAMS / "broker/echoes.py"), str(PORT)]


def test_short_lived_connections_are_left_to_tcp(small: Ends) -> None:
    """Those of a program that makes them at a high rate; and `vnicctl sockets` says so."""
    server = [sys.executable, *ANSWER, small.server.ip]
    argv = [sys.executable, *SHORT, small.server.ip]
    learning = replace(small.client, learning=True)
    with small.server.serving(server, PORT), learning.running(argv) as client:

        def talk(*times: int) -> list[str]:
            """Whether each connection, with so many messages there and back, was direct."""
            assert client.stdin and client.stdout
            client.stdin.write(" ".join(map(str, times)).encode() + b"\n")
            client.stdin.flush()
            return client.stdout.readline().decode().split()

        direct = talk(*[1] * 100)
        assert direct[:16] == ["1"] * 16
        assert direct[-1] == "0"
        rows = small.fabric.call("sockets.list")["processes"]
        (page,) = [row for row in rows if row["pid"] == client.pid]
        assert page["decided"]["short_lived"] == direct.count("0")
        wait_until(lambda: talk(20) == ["1"], 20, "connections are direct again")
        assert talk(*[20] * 40) == ["1"] * 40, "they are not short-lived"
