"""The broker's resolver: what it answers, and what must not be done to it; each time others go on being served."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import subprocess
from contextlib import ExitStack

import pytest

from tests.framework.sockets import preload
from tests.framework.sockets.broker import HERE, NAME, at_once, descriptors, stopped
from tests.framework.sockets.preload import Program, lingering, marker
from tests.framework.waiting import wait_until
from vnicd.host.broker.broker import Broker
from vnicd.host.broker.resolver import MAX_WASTE
from vnicd.native.resolver import Resolver
from vnicd.sockets import abi
from vnicd.sockets.abi import Address, Op, Reason, Reply

OWN = abi.address("10.9.9.1", 7101)
OWN6 = abi.address("fd09::1", 7101)
SILENT = 64


def visit() -> Program:
    return Program(NAME + abi.RESOLVER)


def asked(target: Address = abi.NOWHERE) -> Reply:
    """The answer at the resolver, which has the table with it."""
    one = visit()
    reply, fds = one.ask(Op.ASK, target=target)
    one.close()
    with mmap.mmap(fds[0], 0, mmap.MAP_SHARED, mmap.PROT_READ) as table:
        assert preload.entries(table) == {"10.9.9.1": 1, "fd09::1": 1}
    os.close(fds[0])
    assert reply.port == 1
    return reply


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("target", [OWN, OWN6, abi.address("127.0.0.1", 7102), abi.address("::1", 7102)])
def test_a_listener_with_the_library_is_known(target: Address) -> None:
    names = [target.text, "::"] + (["0.0.0.0"] if len(target.ip) == 4 else [])
    for name in names:
        assert asked(target).reason == Reason.NO_LIBRARY
        with marker(target, name):
            assert asked(target).reason == Reason.DIRECT
    with marker(Address(target.ip, target.port + 1)):
        assert asked(target).reason == Reason.NO_LIBRARY


@pytest.mark.usefixtures("program")
def test_what_is_no_partition() -> None:
    for text in ("10.9.9.2", "192.0.2.1", "fd09::2"):
        assert asked(abi.address(text, 80)).reason == Reason.NOT_A_PARTITION
    assert asked().reason == Reason.DIRECT, "nothing was asked but the table"


WRONG = [
    b"",
    b"x",
    abi.request(Op.ASK)[:-1],
    abi.request(Op.ASK) + b"x",
    abi.request(Op.HELLO),
    abi.request(Op.OFFER, OWN, OWN),
    abi.Request(abi.VERSION, 99, OWN, OWN).pack(),
    bytes(100_000),
]


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("data", WRONG, ids=range(len(WRONG)))
def test_what_is_no_question_is_not_answered(data: bytes) -> None:
    other = visit()
    other.send(data)
    assert other.is_dropped()
    other.close()
    asked()


@pytest.mark.usefixtures("program")
def test_a_family_that_nobody_knows_has_no_partition() -> None:
    data = bytearray(abi.request(Op.ASK, target=OWN))
    data[32:34] = b"\xff\xff"
    other = visit()
    other.send(bytes(data))
    reply, fds = other.reply()
    assert reply.reason == Reason.NOT_A_PARTITION
    os.close(fds[0])
    other.close()


@pytest.mark.usefixtures("program")
def test_another_version_is_told_so() -> None:
    other = visit()
    other.send(abi.Request(abi.VERSION + 1, Op.ASK, OWN, OWN).pack())
    reply, fds = other.reply()
    assert (reply.reason, reply.version) == (Reason.UNSUPPORTED, abi.VERSION)
    os.close(fds[0])
    other.close()


@pytest.mark.usefixtures("program")
def test_descriptors_are_not_taken_in() -> None:
    read, write = os.pipe()
    other = visit()
    other.send(abi.request(Op.ASK), [write] * 200)
    os.close(write)
    assert other.is_dropped()
    assert os.read(read, 1) == b"", "nobody has the pipe any more"
    os.close(read)
    other.close()


@pytest.mark.usefixtures("program")
def test_who_says_nothing_takes_no_place_from_others(running: subprocess.Popen[bytes]) -> None:
    """The one who has been silent for longest has to go."""
    with ExitStack() as stack:
        first = visit()
        stack.callback(first.close)
        for _ in range(SILENT):
            stack.callback(visit().close)
        assert first.is_dropped()
        for _ in range(5 * SILENT):
            stack.callback(visit().close)
        assert asked(OWN).reason == Reason.NO_LIBRARY
        wait_until(lambda: descriptors(running.pid) < 3 * SILENT, 5, "the others are closed")


def test_many_who_do_not_read_are_closed(program: Program, running: subprocess.Popen[bytes]) -> None:
    """All that wait to be closed are bounded, whether their clients go or stay."""
    program.table()  # it has taken us in
    before = descriptors(running.pid)
    with ExitStack() as stack:
        for _ in range(500):
            one = visit()
            stack.callback(one.close)
            one.send(abi.request(Op.ASK, target=OWN))
        assert asked(OWN).reason == Reason.NO_LIBRARY
        wait_until(lambda: descriptors(running.pid) <= before, 5, "its own ends are closed")
    assert program.table()[0] == 1


def test_a_close_that_blocks_holds_up_nobody(program: Program, running: subprocess.Popen[bytes]) -> None:
    """The last close of a TCP socket that lingers takes as long as its owner likes."""
    with lingering() as client:
        others = [visit(), visit()]
        with stopped(running):  # so that the last close is the broker's
            others[0].send(abi.request(Op.ASK), [client.fileno()])
            others[1].send(abi.request(Op.ASK))
            others[1].send(b"more", [client.fileno()])
            client.close()
        assert others[0].is_dropped()
        for fd in others[1].reply()[1]:
            os.close(fd)
        for _ in range(100):
            asked()
        assert program.table()[0] == 1
    for each in others:
        each.close()


def test_places_are_limited_and_checked() -> None:
    table = os.memfd_create("table")
    resolver = Resolver(table)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        fd = listener.fileno()
        index = resolver.open(fd, fd, 1)
        with pytest.raises(OSError, match="can't be opened"):
            resolver.open(fd, fd, 2)
        for wrong in (-1, index + 1, 1024):
            with pytest.raises(ValueError, match="no place"):
                resolver.resume(wrong)
        resolver.pause(index)
        resolver.resume(index)
        assert resolver.close(index) == []
        with pytest.raises(ValueError, match="no place"):
            resolver.close(index)
    os.close(table)


def test_what_is_stuck_costs_one_timer() -> None:
    """However much is told of others, and for however long."""
    name = f"{NAME}-stuck"
    timers: list[object] = []

    async def stick() -> None:
        broker = Broker(at_once, name)
        await broker.update(HERE)
        loop = asyncio.get_running_loop()
        (namespace,) = broker.namespaces.values()
        programs = [Program(name + abi.RESOLVER) for _ in range(20)]
        await asyncio.to_thread(ask_and_go, programs.pop())
        plain = loop.call_later
        later = lambda delay, work, *words: timers.append(work) or plain(3600, work, *words)  # noqa: E731
        loop.call_later = later  # type: ignore[method-assign]
        namespace.reaper.came += MAX_WASTE + 100
        while programs:
            seen = namespace.reaper.came
            await asyncio.to_thread(ask_and_go, programs.pop())
            await asyncio.to_thread(wait_until, lambda: namespace.reaper.came != seen, 5, "it has come")  # noqa: B023
        loop.call_later = plain  # type: ignore[method-assign]
        broker.close()

    asyncio.run(stick())
    assert len([each for each in timers if "_resume" in repr(each)]) == 1


def ask_and_go(program: Program) -> None:
    for fd in program.ask(Op.ASK)[1]:
        os.close(fd)
    program.close()


def test_when_the_thread_ends_programs_are_sent_to_the_broker(caplog: pytest.LogCaptureFixture) -> None:
    name = f"{NAME}-lost"

    def is_refused() -> bool:
        try:
            Program(name + abi.RESOLVER).close()
        except ConnectionRefusedError:
            return True
        return False

    async def lose() -> None:
        broker = Broker(at_once, name)
        await broker.update(HERE)
        assert not is_refused()
        broker.resolvers.resolver.stop()
        await asyncio.to_thread(wait_until, is_refused, 5, "nobody listens at the resolver")
        one = Program(name)
        port, _ = await asyncio.to_thread(one.table)
        assert port == 1
        one.close()
        broker.close()

    asyncio.run(lose())
    assert "the broker's resolver is gone" in caplog.text
