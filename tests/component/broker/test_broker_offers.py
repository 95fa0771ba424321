"""How long the broker keeps an offer, and who may make it and take it back."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.framework.sockets import broker, preload
from tests.framework.sockets.broker import NAME
from tests.framework.sockets.preload import Program, address_of, bound, make_stream_region
from tests.framework.waiting import wait_until
from vnicd.sockets import abi
from vnicd.sockets.abi import Address, Op, Reason

SOURCE = abi.address("127.0.0.1", 30002)


@pytest.fixture
def end() -> Iterator[tuple[int, int]]:
    """One end of a connection: the doorbell and the region."""
    doorbell, region = socket.socketpair(), make_stream_region()
    yield doorbell[0].fileno(), region
    os.close(region)
    for each in doorbell:
        each.close()


def test_an_offer_outlives_its_program(program: Program, listener: socket.socket) -> None:
    """A client may write, close and exit before it is accepted."""
    _, table = program.table()
    target = address_of(listener)
    other, client = Program(NAME), socket.socket()
    client.bind(("127.0.0.1", 0))
    source = address_of(client)
    _, doorbell = other.offer(source, target, client)
    client.connect((target.text, target.port))
    client.close()
    doorbell.send(b"last words")
    doorbell.close()
    other.end()
    program.catch_up()
    assert preload.offers(table, 1) == 1
    accepted, _ = listener.accept()
    reply, fds = program.ask(Op.TAKE, source, target, [accepted.fileno()])
    assert reply.reason == Reason.DIRECT
    assert preload.offers(table, 1) == 0
    with socket.socket(fileno=fds[0]) as far:
        assert far.recv(99) == b"last words"
    os.close(fds[1])
    accepted.close()


@pytest.mark.parametrize("stays", [True, False], ids=["its program stays", "its program goes"])
def test_an_offer_does_not_wait_for_ever(listener: socket.socket, stays: bool) -> None:
    name = f"{NAME}-timeout"
    with broker.start(name, timeout=0.2) as process:
        one, other = Program(name), Program(name)
        _, table = one.table()
        _, doorbell = other.offer(SOURCE, address_of(listener))
        if not stays:
            other.end()
        doorbell.settimeout(5)
        assert doorbell.recv(1) == b"", "nobody has the other end of the doorbell"
        assert preload.offers(table, 1) == 0
        for each in (one, other, doorbell):
            each.close()
        process.terminate()
        assert process.wait(10) == 0


def test_an_offer_can_be_forgotten(program: Program, listener: socket.socket) -> None:
    """By the program that has made it."""
    _, table = program.table()
    target = address_of(listener)
    other = Program(NAME)
    _, doorbell = other.offer(SOURCE, target)
    program.forget(SOURCE, target)
    program.catch_up()
    assert preload.offers(table, 1) == 1
    other.forget(SOURCE, target)
    wait_until(lambda: preload.offers(table, 1) == 0, 5, "the offer is dropped")
    doorbell.settimeout(5)
    assert doorbell.recv(1) == b"", "nobody has the other end of the doorbell"
    for each in (other, doorbell):
        each.close()


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_who_offers_has_the_port(
    program: Program, listener: socket.socket, end: tuple[int, int], ip: str
) -> None:
    target = address_of(listener)
    with socket.create_server((ip, 0), family=socket.AF_INET6 if ":" in ip else socket.AF_INET) as sock:
        own = address_of(sock)
        source = own if any(own.ip) else Address(SOURCE.ip, own.port)
        assert program.ask(Op.OFFER, source, target, [*end, sock.fileno()])[0].reason == Reason.DIRECT
        program.forget(source, target)
        for wrong in (Address(source.ip, own.port - 1), abi.address("127.0.0.2", own.port)):
            if not any(own.ip) and wrong.port == own.port:
                continue  # bound to all of them
            other = Program(NAME + abi.EXCHANGE)
            other.send(abi.request(Op.OFFER, wrong, target), [*end, sock.fileno()])
            assert other.is_dropped(), wrong
            other.close()


def test_what_is_no_tcp_socket_has_no_port(
    program: Program, listener: socket.socket, end: tuple[int, int]
) -> None:
    target = address_of(listener)
    assert program.ask(Op.OFFER, SOURCE, target, end)[0].reason == Reason.NO_DESCRIPTORS
    with socket.socket(type=socket.SOCK_DGRAM) as datagram, socket.socket() as free, open(__file__) as file:
        datagram.bind(("127.0.0.1", SOURCE.port))
        for wrong in (datagram.fileno(), free.fileno(), file.fileno(), *end):
            other = Program(NAME + abi.EXCHANGE)
            other.send(abi.request(Op.OFFER, SOURCE, target), [*end, wrong])
            assert other.is_dropped()
            other.close()


def test_offers_are_limited(listener: socket.socket, end: tuple[int, int]) -> None:
    """Of one namespace, those of programs that have ended with them; or by our file limit, where that is low."""
    target = address_of(listener)
    with broker.start(f"{NAME}-limit") as process:
        one, other = Program(f"{NAME}-limit"), Program(f"{NAME}-limit")
        _, table = one.table()
        made = 0
        while made <= 4096:
            with bound(f"127.1.{made >> 8}.{made & 255}") as sock:
                fds = [*end, sock.fileno()]
                if other.ask(Op.OFFER, address_of(sock), target, fds)[0].reason != Reason.DIRECT:
                    break
            made += 1
        assert 0 < made == preload.offers(table, 1) <= 4096
        other.end()
        one.catch_up()
        reply, doorbell = one.offer(SOURCE, target)
        assert reply.reason == Reason.NO_DESCRIPTORS
        for each in (one, doorbell):
            each.close()
        process.terminate()
        assert process.wait(10) == 0
