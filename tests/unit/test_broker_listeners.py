"""What the broker tells of listeners: their ports have names, in a namespace that tests share with other test runs."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import broker
from tests.support.broker import NAME
from tests.support.provider import Program, address_of, marker
from tests.support.waiting import wait_until
from vnicd import sockets
from vnicd.sockets import Address, Op, Why


@pytest.fixture
def where() -> Iterator[Address]:
    """An address that nobody else uses at this time."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield address_of(sock)


def is_told(where: Address) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.connect_ex(f"\0vnicd-near/port/{where.port}") == 0


def test_a_listener_is_told_before_the_answer(program: Program, where: Address) -> None:
    assert not is_told(where)
    with marker(where):
        for _ in range(2):
            assert program.ask(Op.LISTEN, where)[0].why == Why.DIRECT
            assert is_told(where)


def test_it_is_told_until_somebody_has_gone(program: Program, where: Address) -> None:
    with marker(where):
        other = Program(NAME)
        assert other.ask(Op.LISTEN, where)[0].why == Why.DIRECT
    assert program.ask(Op.HELLO)[0].why == Why.DIRECT
    assert is_told(where)
    other.end()
    wait_until(lambda: not is_told(where), 10, "it is forgotten")


def test_one_that_is_not_there_is_not_told(program: Program, where: Address) -> None:
    with marker(where, "0.0.0.0"):
        assert program.ask(Op.LISTEN, where)[0].why == Why.UNSUPPORTED
    assert program.ask(Op.LISTEN)[0].why == Why.UNSUPPORTED
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
                other.send(sockets.request(Op.LISTEN, where))
            except OSError:
                break
        other.end()
    assert program.ask(Op.HELLO)[0].why == Why.DIRECT


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    assert process.wait(10) == 0
    for pipe in (process.stdin, process.stdout):
        assert pipe
        pipe.close()
