"""What a program must not do to the broker: each test sends something wrong, and others go on being served."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import suppress

import pytest

from tests.framework.sockets import preload
from tests.framework.sockets.broker import NAME, descriptors, stopped
from tests.framework.sockets.preload import Program, address_of, bound, lingering, make_stream_region
from tests.framework.waiting import wait_until
from vnicd.sockets import abi
from vnicd.sockets.abi import Op, Reason

SOURCE = abi.address("127.0.0.1", 30003)


def memfd(size: int = abi.REGION_BYTES, seals: int = preload.SHRINK | preload.GROW) -> int:
    return make_stream_region(size, seals)


def test_what_is_no_region_or_no_doorbell_is_refused(program: Program, listener: socket.socket) -> None:
    target = address_of(listener)
    doorbell, datagram, tcp = socket.socketpair(), socket.socketpair(type=socket.SOCK_DGRAM), socket.socket()
    pipe, file = os.pipe(), os.open(__file__, os.O_RDONLY)
    good = memfd()
    wrong = [memfd(abi.REGION_BYTES + 4096), memfd(4096), memfd(seals=preload.SHRINK), memfd(seals=0)]
    pairs = [(doorbell[0].fileno(), region) for region in (*wrong, pipe[0], file, doorbell[0].fileno())]
    pairs += [(one, good) for one in (datagram[0].fileno(), tcp.fileno(), pipe[0], file, good)]
    own = bound("", SOURCE.port)
    for pair in pairs:
        other = Program(NAME + abi.EXCHANGE)
        other.send(abi.request(Op.OFFER, SOURCE, target), [*pair, own.fileno()])
        assert other.is_dropped(), pair
        other.close()
    for each in (*doorbell, *datagram, tcp, own):
        each.close()
    for fd in (*pipe, file, good, *wrong):
        os.close(fd)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        abi.request(Op.HELLO)[:-1],
        abi.request(Op.HELLO) + b"x",
        abi.Request(abi.VERSION, 99, SOURCE, SOURCE).pack(),
        abi.request(Op.OFFER, SOURCE, SOURCE)[:8] + b"\xff\xff" + abi.request(Op.OFFER, SOURCE, SOURCE)[10:],
    ],
)
@pytest.mark.parametrize("where", ["", abi.EXCHANGE], ids=["broker", "exchange"])
@pytest.mark.usefixtures("running")
def test_what_is_no_request_ends_the_connection(data: bytes, where: str) -> None:
    other = Program(NAME + where)
    other.send(data)
    assert other.is_dropped()
    other.close()


def test_another_version_is_told_so(program: Program) -> None:
    for each, op in ((program, Op.HELLO), (program.exchange, Op.OFFER)):
        each.send(abi.Request(abi.VERSION + 1, op, SOURCE, SOURCE).pack())
        reply, fds = each.reply()
        assert (reply.reason, reply.version, fds) == (Reason.UNSUPPORTED, abi.VERSION, [])
    assert program.table()[0] == 1
    program.catch_up()


def test_each_request_has_its_place(program: Program) -> None:
    for where, op in (("", Op.OFFER), ("", Op.TAKE), ("", Op.FORGET), (abi.EXCHANGE, Op.HELLO)):
        other = Program(NAME + where)
        other.send(abi.request(op, SOURCE, SOURCE))
        assert other.is_dropped()
        other.close()
    program.catch_up()


def test_without_descriptors_nothing_is_offered_or_taken(program: Program, listener: socket.socket) -> None:
    for op in (Op.OFFER, Op.TAKE):
        assert program.ask(op, SOURCE, address_of(listener))[0].reason == Reason.NO_DESCRIPTORS


def test_surplus_descriptors_are_closed(program: Program, running: subprocess.Popen[bytes]) -> None:
    program.table()  # it has taken us in
    program.catch_up()
    before = descriptors(running.pid)
    for where, op in (("", Op.HELLO), (abi.EXCHANGE, Op.OFFER), (abi.EXCHANGE, Op.TAKE)):
        other = Program(NAME + where)
        read, write = os.pipe()
        other.send(abi.request(op, SOURCE, SOURCE), [write] * 200)
        os.close(write)
        assert os.read(read, 1) == b"", "nobody has the pipe any more"
        os.close(read)
        other.close()
    wait_until(lambda: descriptors(running.pid) <= before, 5, "all others are closed too")


def test_who_never_reads_is_dropped(running: subprocess.Popen[bytes], program: Program) -> None:
    other = Program(NAME + abi.EXCHANGE)
    other.sock.setblocking(False)
    asked = 0
    with suppress(BrokenPipeError, ConnectionResetError):
        while asked < 100_000:
            wait_until(lambda: sends(other), 5, "the broker reads")
            asked += 1
    assert 10 < asked < 10_000
    assert program.table()[0] == 1, "others are served"
    other.close()


@pytest.mark.usefixtures("running")
def test_answers_that_nobody_reads_take_little_memory() -> None:
    """There can be thousands of such programs, and each answer has a descriptor with it."""
    other = Program(NAME)
    with suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(10_000):
            other.send(abi.request(Op.HELLO))
    unread = 0
    with suppress(ConnectionResetError):
        while received := socket.recv_fds(other.sock, 4096, 1)[:2]:
            if not received[0]:
                break
            unread += 1
            for fd in received[1]:
                os.close(fd)
    assert 0 < unread <= 16
    other.close()


def sends(program: Program) -> bool:
    try:
        program.send(abi.request(Op.TAKE, SOURCE, SOURCE))
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("where", ["", abi.EXCHANGE], ids=["broker", "exchange"])
def test_a_close_that_blocks_holds_up_nobody(
    program: Program, running: subprocess.Popen[bytes], where: str
) -> None:
    """The last close of a TCP socket that lingers takes as long as its owner likes."""
    op = Op.TAKE if where else Op.HELLO
    with lingering() as client:
        other = Program(NAME + where)
        with stopped(running):  # so that the last close is the broker's
            other.send(abi.request(op), [client.fileno()])
            client.close()
        for fd in other.reply()[1]:
            os.close(fd)
        for _ in range(100):
            for fd in other.ask(op)[1]:
                os.close(fd)
            program.catch_up()
        assert program.table()[0] == 1
    other.close()
