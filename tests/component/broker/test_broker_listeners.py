"""What the broker tells of listeners: their ports have names, in a namespace that tests share with other test runs."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from threading import Event, Thread
from typing import TypeVar

import pytest

from tests.framework.sockets import broker
from tests.framework.sockets.broker import NAME
from tests.framework.sockets.preload import Program, address_of, marker
from tests.framework.waiting import wait_until
from vnicd.host.broker.broker import Broker
from vnicd.host.broker.namespace import Place
from vnicd.sockets import abi
from vnicd.sockets.abi import Address, Op, Reason

T = TypeVar("T")


@pytest.fixture
def where() -> Iterator[Address]:
    """An address that nobody else uses at this time."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield address_of(sock)


def is_told(where: Address) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.connect_ex(f"\0vnicd-presence/port/{where.port}") == 0


def test_a_listener_is_told_before_the_answer(program: Program, where: Address) -> None:
    assert not is_told(where)
    with marker(where):
        for _ in range(2):
            assert program.ask(Op.LISTEN, where)[0].reason == Reason.DIRECT
            assert is_told(where)


def test_it_is_told_until_somebody_has_gone(program: Program, where: Address) -> None:
    with marker(where):
        other = Program(NAME)
        assert other.ask(Op.LISTEN, where)[0].reason == Reason.DIRECT
    assert program.ask(Op.HELLO)[0].reason == Reason.DIRECT
    assert is_told(where)
    other.end()
    wait_until(lambda: not is_told(where), 10, "it is forgotten")


def test_one_that_is_not_there_is_not_told(program: Program, where: Address) -> None:
    with marker(where, "0.0.0.0"):
        assert program.ask(Op.LISTEN, where)[0].reason == Reason.UNSUPPORTED
    assert program.ask(Op.LISTEN)[0].reason == Reason.UNSUPPORTED
    assert not is_told(where)


def test_those_that_were_there_before_are_told(where: Address) -> None:
    with marker(where, "::"):
        second = broker.start(f"{NAME}-second")
        try:
            assert is_told(where)
        finally:
            _end(second)
    assert not is_told(where)


def test_who_does_not_wait_for_the_answer_has_to_go(program: Program, where: Address) -> None:
    """Or is answered, when it was quick."""
    with marker(where):
        other = Program(NAME)
        for _ in range(200):
            try:
                other.send(abi.request(Op.LISTEN, where))
            except OSError:
                break
        other.end()
    assert program.ask(Op.HELLO)[0].reason == Reason.DIRECT


def test_the_second_at_a_port_waits_for_its_name_as_well(slow: tuple[Broker, Event], where: Address) -> None:
    """Its port is not new, but has no name yet."""
    own, may_go_on = slow
    with marker(where), marker(where, "::"):
        programs = [Program(own.name) for _ in range(2)]
        for program, ip in zip(programs, (where.ip, bytes(16)), strict=True):
            program.send(abi.request(Op.LISTEN, Address(ip, where.port)))
        (namespace,) = own.namespaces.values()
        wait_until(lambda: len(namespace.heard) == 2, 10, "both were heard")
        assert select.select([program.sock for program in programs], [], [], 0.05)[0] == []
        assert not is_told(where)
        may_go_on.set()
        for program in programs:
            assert program.reply()[0].reason == Reason.DIRECT
            assert is_told(where)
            program.end()


@pytest.fixture
def slow() -> Iterator[tuple[Broker, Event]]:
    """A broker that binds no name of a port before it may."""
    may_go_on, ready, end = Event(), Event(), asyncio.Event()
    brokers: list[Broker] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()

        def kernel(work: Callable[[], T]) -> Awaitable[T]:
            def when_it_may() -> T:
                assert not ready.is_set() or may_go_on.wait(10)
                return work()

            return loop.run_in_executor(None, when_it_may)

        brokers.append(Broker(kernel, f"{NAME}-slow"))
        await brokers[0].update({1: Place(None, ("10.9.9.2/24",))})
        loops.append(loop)
        ready.set()
        await end.wait()
        brokers[0].close()

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield brokers[0], may_go_on
    finally:
        may_go_on.set()
        loops[0].call_soon_threadsafe(end.set)
        thread.join(10)
        brokers.clear()
        gc.collect()  # its memory is open until then, and other tests count descriptors


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    assert process.wait(10) == 0
    for pipe in (process.stdin, process.stdout):
        assert pipe
        pipe.close()
