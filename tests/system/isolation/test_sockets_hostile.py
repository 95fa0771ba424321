"""Direct sockets: a far end that owns its region and lies, and a broker that does.

Whatever it does, the honest program neither crashes nor hangs nor holds more than before, and its other connection,
with an honest end, goes on.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from threading import Thread

import pytest

from tests.framework.programs.honest import LOCAL
from tests.framework.sockets import loopback, preload
from tests.framework.sockets.direct import LIBRARY
from tests.framework.sockets.hostile import (
    ANSWER,
    ANSWER_MAGIC,
    Asking,
    Liar,
    connected,
    echo_server,
    holdings,
    program,
)
from tests.framework.waiting import wait_until
from vnicd.sockets import abi
from vnicd.sockets.abi import Op

RING = abi.RING_BYTES
HUGE = 1 << 63
pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY}: run scripts/setup")

Lie = Callable[[Liar], object]


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with loopback.serving() as name:
        yield name


def lies(liar: Liar, **fields: Iterable[int]) -> None:
    """One value after the other."""
    for name, values in fields.items():
        for value in values:
            liar.lie(**{name: value})


def many_states(liar: Liar) -> None:
    for state in (0xFFFFFFF0, 0x10, 0, 0xFFFFFFFF):
        liar.lie(state=state)


def many_sleepers(liar: Liar) -> None:
    chance = random.Random(1)
    for wants in (0, 0xFFFFFFFF, 0xFF, 0xFF00, *(chance.getrandbits(32) for _ in range(200))):
        liar.lie(armed=wants << 31, sleep_number=wants, head=1 + wants % 2)


def at_random(liar: Liar) -> None:
    chance = random.Random(2)
    for _ in range(500):
        liar.lie(**{name: chance.getrandbits(64) for name in ("head", "tail", "origin", "armed", "rings")})


def origins(liar: Liar) -> None:
    for number, origin in enumerate((HUGE, HUGE - 1, 2**64 - 1, RING + 1, 4096)):
        liar.lie(origin=origin, head=number * 1000)


def rings(liar: Liar) -> None:
    liar.lie(has_large=1)
    for number, start in enumerate((0, 1, 500, HUGE, -1, abi.LARGE_BYTES, abi.REGION_BYTES)):
        for mode in (1, 2, 0):
            liar.lie(mode=mode, large_from=start, large_origin=start - 7, head=number * 1000 + mode)
    liar.lie(mode=3, head=9000)


def backwards(liar: Liar) -> None:
    liar.lie(head=5000)
    wait_until(lambda: liar.far_head() == 5000, 5, "the echo")
    liar.lie(tail=5000)
    liar.lie(tail=10, head=4000)


def doorbell_noise(liar: Liar) -> None:
    for size in (1, 8, 100, 60_000):
        liar.ring(os.urandom(size))
    with open(os.devnull) as file:
        folder = os.open("/", os.O_RDONLY)
        for _ in range(50):
            liar.send_fds(b"garbage", [file.fileno(), folder, liar.memfd])
            liar.send_fds(ANSWER.pack(ANSWER_MAGIC, abi.VERSION), [file.fileno()] * 100)
        os.close(folder)


def out_of_band(liar: Liar) -> None:
    with suppress(OSError):
        liar.ours.send(b"!", socket.MSG_OOB)


def shut(liar: Liar) -> None:
    liar.theirs.setblocking(False)
    liar.lie(head=100)
    liar.theirs.shutdown(socket.SHUT_RDWR)


LIES: dict[str, Lie] = {
    "head beyond the ring": lambda liar: liar.lie(head=RING + 1),
    "head far beyond": lambda liar: liar.lie(head=HUGE),
    "head below": lambda liar: liar.lie(head=-1),
    "tail beyond": lambda liar: lies(liar, tail=[1], head=[100]),
    "tail far beyond": lambda liar: lies(liar, tail=[HUGE], head=[100]),
    "backwards": backwards,
    "origins": origins,
    "states": many_states,
    "sleepers": many_sleepers,
    "random": at_random,
    "noise on the doorbell": doorbell_noise,
    "out of band": out_of_band,
    "shut and not blocking": shut,
    "rings": rings,
    "never reads": lambda liar: lies(liar, head=range(0, 8 * RING, 1000)),
}


@pytest.mark.parametrize("role", ["serve", "wait"])
def test_client_that_lies(broker: str, role: str) -> None:
    with (
        echo_server(role, VNICD_BROKER=broker, VNICD_LARGE=int(role == "wait")) as (server, port),
        program("ask", VNICD_BROKER=broker) as process,
    ):
        asking = Asking(process)
        assert (asking(f"open {port}"), asking("echo")) == ("open", "True")
        assert asking.attempt(port) == "hello"
        assert {asking("echo") for _ in range(300)} == {"True"}  # by now all is there that the library keeps
        for name, lie in {"none": lambda liar: liar.lie(head=1), **LIES}.items():
            before = holdings(server.pid)
            liar = Liar()
            with connected(broker, port, liar) as _tcp:
                liar.answered()
                lie(liar)
                assert asking("echo") == "True", name
                assert liar.far_head() <= 9 * RING
            wait_until(lambda: holdings(server.pid) <= before, 5, f"all is closed after: {name}")  # noqa: B023
            assert asking.attempt(port) == "hello", name


def test_server_reads_what_was_sent_and_nothing_else(broker: str) -> None:
    """Even where the origin makes no sense, what is read is the ring of who lies."""
    liar = Liar()
    with echo_server("wait", VNICD_BROKER=broker) as (_, port), connected(broker, port, liar):
        assert liar.memory
        liar.memory[abi.CONTROL_BYTES : abi.SMALL_BYTES] = b"\x5a" * RING
        liar.answered()
        liar.lie(origin=HUGE + 77, head=RING)
        wait_until(lambda: liar.far_head() > 0, 5, "an echo")
        assert liar.far
        echo = liar.far[abi.CONTROL_BYTES : abi.CONTROL_BYTES + liar.far_head()]
        assert echo == b"\x5a" * len(echo)


def shrinkable() -> int:
    return preload.make_stream_region(seals=0)


def wrong_magic() -> int:
    return preload.make_stream_region()


def huge() -> int:
    return preload.make_stream_region(1 << 40)


def small() -> int:
    return preload.make_stream_region(4096)


def pipe() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def folder() -> int:
    return os.open("/", os.O_RDONLY)


def lingering() -> int:
    """A TCP socket, whose close would wait for an hour."""
    with socket.create_server((LOCAL, 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
        return sock.detach()


WRONG: list[Callable[[], int]] = [shrinkable, wrong_magic, huge, small, pipe, folder, lingering]


@contextmanager
def impostor(broker: str) -> Iterator[tuple[int, Callable[[], tuple[socket.socket, list[int]]]]]:
    """A listener that takes offers: its port, and what takes one."""
    with ExitStack() as stack:
        us = stack.enter_context(closing(preload.Program(broker)))
        listener = stack.enter_context(socket.create_server((LOCAL, 0)))
        listener.settimeout(5)
        stack.enter_context(preload.marker(preload.address_of(listener)))

        def take() -> tuple[socket.socket, list[int]]:
            tcp = stack.enter_context(listener.accept()[0])
            source = abi.address(*tcp.getpeername())
            reply, fds = us.ask(Op.TAKE, source, preload.address_of(listener), [tcp.fileno()])
            assert reply.reason == 0 and len(fds) == 2
            return stack.enter_context(socket.socket(fileno=fds[0])), fds[1:]

        yield listener.getsockname()[1], take


def answers(region: int) -> Iterator[tuple[str, bytes, list[int]]]:
    """What an impostor may say instead of an answer."""
    good = ANSWER.pack(ANSWER_MAGIC, abi.VERSION) + b"x"
    for make in WRONG:
        fd = make()
        yield make.__name__, good, [fd]
        yield f"{make.__name__} besides", good, [region, fd]
        os.close(fd)
    yield "no region", good, []
    yield "the client's own region", good, [region]
    yield "the same twice", good, [region, region]
    yield "too many", good, [region] * 50
    yield "no answer", b"", []
    yield "garbage", os.urandom(3000), [region]
    yield "one byte", b"x", [region]
    yield "one byte and nothing", b"x", []


@pytest.mark.parametrize("blocking", [False, True], ids=["waiting", "blocking"])
def test_server_that_lies(broker: str, blocking: bool) -> None:
    with (
        echo_server("serve", VNICD_BROKER=broker) as (_, good),
        program("ask", VNICD_BROKER=broker) as process,
    ):
        asking = Asking(process)
        region = preload.make_stream_region()
        assert asking(f"open {good}") == "open"
        assert asking("echo") == "True"
        assert asking.attempt(good) == "hello"
        before = holdings(process.pid)[1]
        for name, data, fds in answers(region):
            outcome: list[str] = []
            with impostor(broker) as (port, take):  # a target that has lied is not offered anything soon
                client = Thread(target=lambda: outcome.append(asking.attempt(port, blocking)))  # noqa: B023
                client.start()
                doorbell, given = take()
                with doorbell:
                    if data:
                        socket.send_fds(doorbell, [data], fds)
                    client.join(10)
            os.close(given[0])
            assert outcome, f"the client hangs: {name}"
            assert not process.poll(), name
            assert asking("echo") == "True", name
            wait_until(lambda: holdings(process.pid)[1] <= before, 5, name)
        os.close(region)
