"""The exchange's namespaces: what ends with one, whose an address is, and which number its counts go by."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from tests.framework.sockets import preload
from tests.framework.sockets.broker import HERE, NAME, at_once
from tests.framework.sockets.preload import Program, address_of, bound, make_stream_region, marker
from tests.framework.waiting import wait_until
from vnicd.host.broker.broker import Broker
from vnicd.kernel import netns
from vnicd.native import table
from vnicd.native.exchange import Exchange
from vnicd.sockets import abi
from vnicd.sockets.abi import Address, Op, Reason

SOURCE = abi.address("127.0.0.1", 30008)


def test_the_offers_of_a_namespace_end_with_it(listener: socket.socket) -> None:
    name = f"{NAME}-exchange-ended"

    async def serve() -> None:
        own = Broker(at_once, name)
        await own.update(HERE)
        one = Program(name)
        _, page = await asyncio.to_thread(one.table)
        reply, doorbell = await asyncio.to_thread(one.offer, SOURCE, address_of(listener))
        assert reply.reason == Reason.DIRECT
        assert preload.offers(page, 1) == 1
        await own.update({})
        assert preload.offers(page, 1) == 0
        doorbell.settimeout(5)
        assert await asyncio.to_thread(doorbell.recv, 1) == b""
        assert await asyncio.to_thread(one.exchange.is_dropped)
        one.end()
        doorbell.close()
        own.close()

    asyncio.run(serve())


class Served:
    """An exchange with two namespaces, which are the same one here: blue has 10.9.8.1, green has 10.9.8.2."""

    def __init__(self) -> None:
        self.writer = table.Writer()
        self.exchange = Exchange(self.writer.region, 60, 100, 5000)
        self.thread = threading.Thread(target=self.exchange.run)
        self.thread.start()
        self.probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listeners = []
        self.indexes = []
        for number, name in enumerate(("blue", "green"), 1):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            listener.bind(f"\0{NAME}-{name}{abi.EXCHANGE}")
            listener.listen()
            self.listeners.append(listener)
            self.indexes.append(self.open(listener, number))
        pairs = [(abi.packed(f"10.9.8.{1 + at}"), index) for at, index in enumerate(self.indexes)]
        self.exchange.settle(abi.pack_entries(pairs))

    def open(self, listener: socket.socket, number: int) -> int:
        cookie = netns.cookie(listener)
        return self.exchange.open(listener.fileno(), self.probe.fileno(), cookie, number)

    def close(self) -> None:
        self.exchange.stop()
        self.thread.join()
        for each in (self.probe, *self.listeners):
            each.close()


@pytest.fixture
def served() -> Iterator[Served]:
    with closing(Served()) as two:
        yield two


PORT = 20000 + os.getpid() % 10000
"""Another one for each test run, as the names of listeners are shared."""

BLUE, GREEN = abi.address("10.9.8.1", PORT), abi.address("10.9.8.2", PORT)


def test_an_offer_outlives_the_namespace_of_its_program(served: Served) -> None:
    """It ends with that of the program that it is for."""
    with closing(Program(f"{NAME}-blue{abi.EXCHANGE}")) as one, marker(GREEN):
        reply, doorbell = one.offer(BLUE, GREEN)
        assert reply.reason == Reason.DIRECT
        blue, green = served.indexes
        assert served.exchange.counts(blue)[:3] == (1, 0, 1)
        assert served.exchange.counts(green)[:3] == (0, 1, 0)
        assert (served.writer.offers(1), served.writer.offers(2)) == (0, 1)
        served.exchange.close(blue)
        assert one.is_dropped()
        assert served.writer.clients(1) == 0
        assert served.exchange.counts(green)[1] == 1
        served.exchange.close(green)
        assert served.writer.offers(2) == 0
        doorbell.settimeout(5)
        assert doorbell.recv(1) == b""
        doorbell.close()


def test_counts_follow_the_number_of_a_partition(served: Served) -> None:
    with closing(Program(f"{NAME}-blue{abi.EXCHANGE}")) as one, marker(GREEN):
        _, doorbell = one.offer(BLUE, GREEN)
        served.exchange.renumber(served.indexes[1], 7)
        assert [served.writer.offers(number) for number in (1, 2, 7)] == [0, 0, 1]
        served.exchange.renumber(served.indexes[0], 2)
        assert [served.writer.clients(number) for number in (1, 2, 7)] == [0, 1, 0]
        served.exchange.renumber(served.indexes[1], 1)
        assert [served.writer.offers(number) for number in (1, 2, 7)] == [1, 0, 0]
        doorbell.close()


def test_of_two_namespaces_with_an_address_the_last_has_it(served: Served) -> None:
    blue, green = served.indexes
    shared = abi.packed(BLUE.text)
    served.exchange.settle(abi.pack_entries([(shared, blue), (shared, green)]))
    with closing(Program(f"{NAME}-blue{abi.EXCHANGE}")) as one, marker(BLUE):
        _, doorbell = one.offer(BLUE, BLUE)  # from one of its own to itself
        assert served.exchange.counts(blue)[1] == 1
        doorbell.close()
    served.exchange.settle(b"")
    with closing(Program(f"{NAME}-green{abi.EXCHANGE}")) as one, marker(BLUE):
        reply, doorbell = one.offer(GREEN, BLUE)
        assert reply.reason == Reason.NOT_A_PARTITION
        doorbell.close()


def test_a_new_namespace_has_no_address_of_an_old_one(served: Served) -> None:
    blue, _ = served.indexes
    served.exchange.close(blue)
    listener = served.listeners[0]
    assert served.open(listener, 3) == blue
    with closing(Program(f"{NAME}-blue{abi.EXCHANGE}")) as one, marker(GREEN):
        reply, doorbell = one.offer(BLUE, GREEN)
        assert reply.reason == Reason.NOT_A_PARTITION
        doorbell.close()


def test_all_offers_together_are_limited(served: Served) -> None:
    doorbell, region = socket.socketpair(), make_stream_region()
    with closing(Program(f"{NAME}-blue{abi.EXCHANGE}")) as one, marker(GREEN), ExitStack() as stack:
        reasons = []
        for _ in range(101):
            tcp = stack.enter_context(bound(""))  # open until the end: each has a port of its own
            source = Address(BLUE.ip, tcp.getsockname()[1])
            fds = [doorbell[0].fileno(), region, tcp.fileno()]
            reasons.append(one.ask(Op.OFFER, source, GREEN, fds)[0].reason)
    assert reasons == [Reason.DIRECT] * 100 + [Reason.NO_DESCRIPTORS]
    os.close(region)
    for each in doorbell:
        each.close()


def test_namespaces_are_checked(served: Served) -> None:
    for wrong in (-1, 5, 1024):
        with pytest.raises(ValueError, match="no namespace"):
            served.exchange.close(wrong)
    with pytest.raises(OSError, match="can't be opened"):
        served.exchange.open(-1, -1, 0, 3)


def test_without_its_thread_nobody_waits_at_the_exchange(caplog: pytest.LogCaptureFixture) -> None:
    name = f"{NAME}-exchange-lost"

    async def lose() -> None:
        own = Broker(at_once, name)
        await own.update(HERE)
        one = Program(name)
        own.exchanges.exchange.stop()
        assert await asyncio.to_thread(one.exchange.is_dropped)

        def is_refused() -> bool:
            with suppress(ConnectionRefusedError):
                Program(name + abi.EXCHANGE).close()
                return False
            return True

        await asyncio.to_thread(wait_until, is_refused, 5, "nobody listens there")
        one.end()
        own.close()

    asyncio.run(lose())
    assert "the exchange is gone" in caplog.text
