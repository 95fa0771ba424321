"""The exchange's thread: in what order it serves, and what it bounds."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from tests.framework.sockets import broker, preload
from tests.framework.sockets.broker import NAME, stopped
from tests.framework.sockets.preload import Program, address_of, lingering, make_stream_region
from tests.framework.waiting import wait_until
from vnicd.sockets import abi
from vnicd.sockets.abi import Address, Op, Reason

SOURCE = abi.address("127.0.0.1", 30005)
CLIENTS = 4096


@contextmanager
def connection(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection, both ends of it."""
    where = address_of(listener)
    with socket.create_connection((where.text, where.port)) as client, listener.accept()[0] as accepted:
        yield client, accepted


def send_offer(program: Program, source: Address, target: Address, tcp: socket.socket) -> socket.socket:
    """Without waiting for the answer; our end of the doorbell."""
    ours, theirs = socket.socketpair()
    region = make_stream_region()
    program.exchange.send(abi.request(Op.OFFER, source, target), [theirs.fileno(), region, tcp.fileno()])
    theirs.close()
    os.close(region)
    ours.settimeout(5)
    return ours


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def test_a_take_that_is_read_before_its_offer_gets_it(
    program: Program, running: subprocess.Popen[bytes], listener: socket.socket
) -> None:
    """The offer was sent before the connection was made, so it is there, if only in the exchange's queues."""
    with connection(listener) as (client, accepted), closing(Program(NAME)) as other:
        other.catch_up()
        source, target = address_of(client), address_of(listener)
        with stopped(running):
            program.exchange.send(abi.request(Op.TAKE, source, target), [accepted.fileno()])
            for _ in range(50):  # which are served first
                other.exchange.send(abi.request(Op.FORGET, source, target))
            doorbell = send_offer(other, source, target, client)
        reply, fds = program.exchange.reply()
        assert reply.reason == Reason.DIRECT
        with socket.socket(fileno=fds[0]) as far:
            far.send(b"hello")
        assert doorbell.recv(9) == b"hello"
        assert other.exchange.reply()[0].reason == Reason.DIRECT
        os.close(fds[1])
        doorbell.close()


def test_an_offer_by_a_program_that_is_not_known_yet_is_found(
    program: Program, running: subprocess.Popen[bytes], listener: socket.socket
) -> None:
    program.catch_up()
    with connection(listener) as (client, accepted):
        source, target = address_of(client), address_of(listener)
        with stopped(running):
            program.exchange.send(abi.request(Op.TAKE, source, target), [accepted.fileno()])
            other = Program(NAME + abi.EXCHANGE)
            doorbell = send_offer(other, source, target, client)
        reply, fds = program.exchange.reply()
        assert reply.reason == Reason.DIRECT
        assert other.reply()[0].reason == Reason.DIRECT
        close_all(fds)
        other.close()
        doorbell.close()


def test_a_take_does_not_wait_for_those_who_ask_without_end(
    program: Program, listener: socket.socket
) -> None:
    others = [Program(NAME) for _ in range(8)]
    end = threading.Event()

    def ask(other: Program) -> None:
        with suppress(OSError):
            while not end.is_set():
                other.exchange.send(abi.request(Op.FORGET, SOURCE, SOURCE))

    threads = [threading.Thread(target=ask, args=[other]) for other in others]
    with connection(listener) as (client, accepted):
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                take = program.ask(Op.TAKE, address_of(client), address_of(listener), [accepted.fileno()])
                assert take[0].reason == Reason.NO_OFFER
        finally:
            end.set()
            for thread in threads:
                thread.join()
    for other in others:
        other.close()


def test_a_program_that_asks_on_is_answered_in_order(program: Program, listener: socket.socket) -> None:
    with connection(listener) as (client, accepted):
        source, target = address_of(client), address_of(listener)
        program.exchange.send(abi.request(Op.TAKE, source, target), [accepted.fileno()])
        doorbell = send_offer(program, source, target, client)
        assert program.exchange.reply()[0].reason == Reason.NO_OFFER
        assert program.exchange.reply()[0].reason == Reason.DIRECT
        program.forget(source, target)
        assert doorbell.recv(1) == b""
        doorbell.close()


def test_who_has_gone_before_the_answer_offers_nothing(
    program: Program, running: subprocess.Popen[bytes], listener: socket.socket
) -> None:
    """Its connection can't have been used yet."""
    _, page = program.table()
    with connection(listener) as (client, accepted):
        other = Program(NAME)
        other.catch_up()
        with stopped(running):
            doorbell = send_offer(other, address_of(client), address_of(listener), client)
            other.end()
        assert doorbell.recv(1) == b"", "nobody has the other end of the doorbell"
        program.catch_up()
        assert preload.offers(page, 1) == 0
        take = program.ask(Op.TAKE, address_of(client), address_of(listener), [accepted.fileno()])
        assert take[0].reason == Reason.NO_OFFER
        doorbell.close()


def test_who_has_gone_is_not_served(
    program: Program, running: subprocess.Popen[bytes], listener: socket.socket
) -> None:
    """With its TAKE an offer has gone, and nobody else gets it."""
    with connection(listener) as (client, accepted):
        source, target = address_of(client), address_of(listener)
        other = Program(NAME)
        other.catch_up()
        with stopped(running):
            other.exchange.send(abi.request(Op.TAKE, source, target), [accepted.fileno()])
            other.end()
            doorbell = send_offer(program, source, target, client)
        assert program.exchange.reply()[0].reason == Reason.DIRECT
        program.forget(source, target)
        assert doorbell.recv(1) == b""
        doorbell.close()


def test_what_is_no_tcp_socket_takes_nothing(program: Program) -> None:
    doorbell, region = socket.socketpair(), make_stream_region()
    with open(__file__) as file, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        for wrong in (doorbell[0].fileno(), region, file.fileno(), datagram.fileno()):
            with closing(Program(NAME + abi.EXCHANGE)) as other:
                other.send(abi.request(Op.TAKE, SOURCE, SOURCE), [wrong])
                assert other.is_dropped()
    os.close(region)
    for each in doorbell:
        each.close()
    program.catch_up()


def test_the_table_counts_the_programs(program: Program) -> None:
    _, page = program.table()
    program.catch_up()
    before = preload.clients(page, 1)
    with closing(Program(NAME)) as other:
        other.catch_up()
        assert preload.clients(page, 1) == before + 1
    wait_until(lambda: preload.clients(page, 1) == before, 5, "it has gone")


def test_programs_are_limited() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * CLIENTS:
        pytest.skip("the limit of descriptors is too low")
    name = f"{NAME}-exchange-many"
    with broker.start(name) as process:
        others = [Program(name + abi.EXCHANGE) for _ in range(CLIENTS)]
        others[-1].catch_up()
        late = Program(name + abi.EXCHANGE)
        assert late.is_dropped()
        others.pop().close()
        wait_until(lambda: is_served(name), 5, "there is a place again")
        for each in (*others, late):
            each.close()
        process.terminate()
        assert process.wait(10) == 0


def is_served(name: str) -> bool:
    with closing(Program(name + abi.EXCHANGE)) as one, suppress(EOFError, OSError):
        one.sock.settimeout(0.5)
        one.catch_up()
        return True
    return False


def test_what_waits_to_be_closed_is_limited() -> None:
    """A namespace in which a close blocks is not served for that time, if its programs send ever more."""
    name = f"{NAME}-unclosed"
    with broker.start(name) as process, ExitStack() as stack:
        other = Program(name + abi.EXCHANGE)
        with lingering() as client:
            with stopped(process):  # so that the last close is the broker's
                other.send(abi.request(Op.TAKE), [client.fileno()])
                client.close()
            assert other.reply()[0].reason == Reason.NO_OFFER
            read, write = os.pipe()
            for fd in (read, write):
                stack.callback(os.close, fd)
            tcp = stack.enter_context(socket.socket())
            sent = 0
            with pytest.raises((EOFError, OSError)):
                while sent < 30_000:
                    other.ask(Op.TAKE, fds=[tcp.fileno(), *[write] * 200])
                    sent += 200
            assert 4000 < sent < 20_000
            assert not is_served(name)
        wait_until(lambda: is_served(name), 10, "it is served again")
        other.close()
        process.terminate()
        assert process.wait(10) == 0
