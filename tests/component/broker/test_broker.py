"""The broker with real sockets, in the namespace of the tests, under a name of its own; no root is needed."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess

import pytest

from tests.framework.sockets import broker, preload
from tests.framework.sockets.broker import NAME
from tests.framework.sockets.preload import Program, address_of, marker
from vnicd.sockets import abi
from vnicd.sockets.abi import Address, Op, Reason

SOURCE = abi.address("127.0.0.1", 30001)
OWN = abi.address("10.9.9.1", 30007)


def test_hello_gives_the_table(program: Program) -> None:
    port, table = program.table()
    assert port == 1
    assert table.size() == -(-(24 + 8 * 1024 + 32 * 4096) // 4096) * 4096
    assert preload.entries(table) == {"10.9.9.1": 1, "fd09::1": 1}
    assert preload.offers(table, 1) == 0


def test_nobody_else_can_write_the_table(program: Program) -> None:
    _, (fd,) = program.ask(Op.HELLO)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_an_offer_is_taken(program: Program, listener: socket.socket) -> None:
    """By who has accepted the TCP connection; the descriptors are those that were offered."""
    _, table = program.table()
    target = address_of(listener)
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        source = address_of(client)
        reply, ours = program.offer(source, target, client)
        assert reply.reason == Reason.DIRECT
        assert preload.offers(table, 1) == 1
        client.connect((target.text, target.port))
        accepted, _ = listener.accept()
        other = Program(NAME)
        reply, fds = other.ask(Op.TAKE, source, target, [accepted.fileno()])
    assert reply.reason == Reason.DIRECT
    assert os.fstat(fds[1]).st_size == abi.REGION_BYTES
    theirs = socket.socket(fileno=fds[0])
    ours.send(b"hello")
    assert theirs.recv(9) == b"hello"
    assert preload.offers(table, 1) == 0
    assert other.ask(Op.TAKE, source, target, [accepted.fileno()])[0].reason == Reason.NO_OFFER
    for each in (ours, theirs, accepted, other):
        each.close()
    os.close(fds[1])


def test_only_who_has_the_connection_gets_the_offer(program: Program, listener: socket.socket) -> None:
    target = address_of(listener)
    assert program.offer(SOURCE, target)[0].reason == Reason.DIRECT
    client = socket.create_connection((target.text, target.port))
    accepted, _ = listener.accept()
    for sock in (client, accepted, listener):  # the names must be those of the socket
        assert program.ask(Op.TAKE, SOURCE, target, [sock.fileno()])[0].reason == Reason.NO_OFFER
    with socket.socket(type=socket.SOCK_DGRAM) as fake:  # what it is called is anybody's choice
        fake.connect((SOURCE.text, SOURCE.port))
        other = Program(NAME + abi.EXCHANGE)
        other.send(abi.request(Op.TAKE, SOURCE, target), [fake.fileno()])
        assert other.is_dropped()
        other.close()
    client.close()
    accepted.close()


@pytest.mark.parametrize("name", ["0.0.0.0", "::", "127.0.0.1"])
def test_a_listener_is_known_by_its_address_or_all(program: Program, name: str) -> None:
    target = Address(SOURCE.ip, 7001)
    assert program.offer(SOURCE, target)[0].reason == Reason.NO_LIBRARY
    with marker(target, name):
        assert program.offer(SOURCE, target)[0].reason == Reason.DIRECT
    assert program.offer(SOURCE, target)[0].reason == Reason.NO_LIBRARY


def test_a_listener_elsewhere_is_none(program: Program) -> None:
    for other in ("127.0.0.2", "::1"):
        with marker(Address(SOURCE.ip, 7002), other):
            assert program.offer(SOURCE, Address(SOURCE.ip, 7002))[0].reason == Reason.NO_LIBRARY
    with marker(abi.address("::1", 7003), "0.0.0.0"):
        target = abi.address("::1", 7003)
        assert program.offer(abi.address("::1", 30001), target)[0].reason == Reason.NO_LIBRARY


def test_a_program_speaks_for_its_partition_alone(program: Program, listener: socket.socket) -> None:
    target = address_of(listener)
    with marker(OWN):
        assert program.offer(OWN, OWN)[0].reason == Reason.DIRECT
        assert program.offer(OWN, target)[0].reason == Reason.DIRECT
        for stranger in ("10.9.9.2", "fe80::1", "0.0.0.0"):
            assert program.offer(abi.address(stranger, 30009), OWN)[0].reason == Reason.NOT_A_PARTITION
            assert program.offer(abi.address(stranger, 30009), target)[0].reason == Reason.NOT_A_PARTITION
    for stranger in ("10.9.9.2", "192.0.2.1", "fd09::2"):
        assert program.offer(OWN, abi.address(stranger, 9))[0].reason == Reason.NOT_A_PARTITION
    assert program.offer(Address(SOURCE.ip, 0), target)[0].reason == Reason.UNSUPPORTED


def test_an_ipv4_address_in_ipv6_clothes_is_ipv4(program: Program) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        target = Address(SOURCE.ip, listener.getsockname()[1])
        with marker(target, "::"), socket.socket() as client:
            client.bind(("127.0.0.1", 0))
            source = address_of(client)
            _, doorbell = program.offer(source, abi.address("::ffff:127.0.0.1", target.port), client)
            client.connect((target.text, target.port))
            accepted, _ = listener.accept()
            assert accepted.getpeername()[0] == "::ffff:127.0.0.1"
            reply, fds = program.ask(Op.TAKE, source, target, [accepted.fileno()])
            assert reply.reason == Reason.DIRECT
            for fd in fds:
                os.close(fd)
            accepted.close()
            doorbell.close()


def test_a_second_offer_replaces_the_first(program: Program, listener: socket.socket) -> None:
    _, table = program.table()
    _, first = program.offer(SOURCE, address_of(listener))
    _, second = program.offer(SOURCE, address_of(listener))
    assert preload.offers(table, 1) == 1
    first.settimeout(5)
    assert first.recv(1) == b""
    second.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.recv(1)


def test_a_name_that_is_taken_is_no_end(running: subprocess.Popen[bytes]) -> None:
    """The second broker says so and ends here; a hosting daemon goes on without."""
    done = subprocess.run(
        broker.command(NAME), cwd=broker.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "another network has them in its namespace" in done.stderr
    assert running.poll() is None


def test_a_broker_that_is_gone_ends_the_connections() -> None:
    process = broker.start(NAME + "-b")
    one = Program(NAME + "-b")
    assert preload.entries(one.table()[1]) == {"127.0.0.1": 1, "::1": 1}
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert one.is_dropped()
    one.close()
    again = broker.start(NAME + "-b")
    assert Program(NAME + "-b").table()[0] == 1
    again.terminate()
    again.wait(10)
    for pipe in (process.stdin, process.stdout, again.stdin, again.stdout):
        assert pipe
        pipe.close()
