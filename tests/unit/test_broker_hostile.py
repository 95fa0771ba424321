"""What a program must not do to the broker: each test sends something wrong, and others go on being served."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress

import pytest

from tests.support import provider
from tests.support.broker import NAME, descriptors
from tests.support.provider import Program, address_of, bound, lingering, make_half
from tests.support.waiting import wait_until
from vnicd import sockets
from vnicd.sockets import Op, Why

SOURCE = sockets.address("127.0.0.1", 30003)


def memfd(size: int = sockets.HALF_BYTES, seals: int = provider.SHRINK | provider.GROW) -> int:
    return make_half(size, seals)


def test_what_is_no_half_or_no_bell_is_refused(program: Program, listener: socket.socket) -> None:
    target = address_of(listener)
    bell, datagram, tcp = socket.socketpair(), socket.socketpair(type=socket.SOCK_DGRAM), socket.socket()
    pipe, file = os.pipe(), os.open(__file__, os.O_RDONLY)
    good = memfd()
    wrong = [memfd(sockets.HALF_BYTES + 4096), memfd(4096), memfd(seals=provider.SHRINK), memfd(seals=0)]
    pairs = [(bell[0].fileno(), half) for half in (*wrong, pipe[0], file, bell[0].fileno())]
    pairs += [(one, good) for one in (datagram[0].fileno(), tcp.fileno(), pipe[0], file, good)]
    own = bound("", SOURCE.port)
    for pair in pairs:
        other = Program(NAME)
        other.send(sockets.request(Op.OFFER, SOURCE, target), [*pair, own.fileno()])
        assert other.is_dropped(), pair
        other.close()
    for each in (*bell, *datagram, tcp, own):
        each.close()
    for fd in (*pipe, file, good, *wrong):
        os.close(fd)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        sockets.request(Op.HELLO)[:-1],
        sockets.request(Op.HELLO) + b"x",
        sockets.Request(sockets.VERSION, 99, SOURCE, SOURCE).pack(),
        sockets.request(Op.OFFER, SOURCE, SOURCE)[:8]
        + b"\xff\xff"
        + sockets.request(Op.OFFER, SOURCE, SOURCE)[10:],
    ],
)
@pytest.mark.usefixtures("running")
def test_what_is_no_request_ends_the_connection(data: bytes) -> None:
    other = Program(NAME)
    other.send(data)
    assert other.is_dropped()
    other.close()


def test_another_version_is_told_so(program: Program) -> None:
    program.send(sockets.Request(sockets.VERSION + 1, Op.HELLO, SOURCE, SOURCE).pack())
    reply, fds = program.reply()
    assert (reply.why, reply.version, fds) == (Why.UNSUPPORTED, sockets.VERSION, [])
    assert program.table()[0] == 1


def test_without_descriptors_nothing_is_offered_or_taken(program: Program, listener: socket.socket) -> None:
    for op in (Op.OFFER, Op.TAKE):
        assert program.ask(op, SOURCE, address_of(listener))[0].why == Why.NO_DESCRIPTORS


def test_surplus_descriptors_are_closed(program: Program, running: subprocess.Popen[bytes]) -> None:
    program.table()  # it has taken us in
    before = descriptors(running.pid)
    read, write = os.pipe()
    program.ask(Op.HELLO, fds=[write] * 200)
    os.close(write)
    assert os.read(read, 1) == b"", "nobody has the pipe any more"
    os.close(read)
    wait_until(lambda: descriptors(running.pid) <= before, 5, "all others are closed too")


def test_who_never_reads_is_dropped(running: subprocess.Popen[bytes], program: Program) -> None:
    other = Program(NAME)
    other.sock.setblocking(False)
    asked = 0
    with suppress(BrokenPipeError, ConnectionResetError):
        while asked < 100_000:
            wait_until(lambda: sends(other), 5, "the broker reads")
            asked += 1
    assert 10 < asked < 10_000
    assert program.table()[0] == 1, "others are served"
    other.close()


def sends(program: Program) -> bool:
    try:
        program.send(sockets.request(Op.TAKE, SOURCE, SOURCE))
    except BlockingIOError:
        return False
    return True


def test_a_close_that_blocks_holds_up_nobody(program: Program, running: subprocess.Popen[bytes]) -> None:
    """The last close of a TCP socket that lingers takes as long as its owner likes."""
    with lingering() as client:
        other = Program(NAME)
        running.send_signal(signal.SIGSTOP)  # so that the last close is the broker's
        other.send(sockets.request(Op.HELLO), [client.fileno()])
        client.close()
        running.send_signal(signal.SIGCONT)
        other.reply()
        assert other.table()[0] == 1
        assert program.table()[0] == 1
    other.close()
