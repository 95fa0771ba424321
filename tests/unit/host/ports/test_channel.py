"""The host's end of a partition daemon's connection: full sockets, garbage, and ends; nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.framework.datapath.lingering import lingering
from tests.framework.datapath.packets import DEEP, GARBAGE, Pair, number_in, numbered
from tests.framework.descriptors import no_more_descriptors
from tests.framework.waiting import wait_until
from vnicd.host.ports import channel as module
from vnicd.host.ports.allowance import Allowance
from vnicd.host.ports.channel import Channel
from vnicd.protocol import registration
from vnicd.protocol.registration import Message


class Listener:
    """Keeps what a Channel reports."""

    def __init__(self, sock: socket.socket) -> None:
        self.got: list[Message] = []
        self.fds: list[int] = []
        self.ends = 0
        self.work_s = 0.0
        """What the handling of a message takes."""
        self.news = asyncio.Event()
        self.allowance = Allowance(asyncio.get_running_loop().time())
        self.channel = Channel(sock, self.message, self.end, self.allowance)

    def message(self, channel: Channel, message: Message, fds: list[int]) -> None:
        begun = time.thread_time()
        while time.thread_time() - begun < self.work_s:
            pass
        self.got.append(message)
        self.fds += fds
        self.news.set()

    def end(self, channel: Channel) -> None:
        self.ends += 1
        self.news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.wait_for(self.news.wait(), 3)
            self.news.clear()


def with_channel(sock: socket.socket, test: Callable[[Listener], Awaitable[None]]) -> Listener:
    """Run a test in an event loop with a Channel on this socket."""

    async def run() -> Listener:
        listener = Listener(sock)
        await test(listener)
        listener.channel.close()
        listener.channel.close()
        assert listener.ends == 1, "the end is told once"
        await asyncio.to_thread(wait_until, lambda: not listener.allowance.reaper.fill, 5, "all is closed")
        return listener

    return asyncio.run(run())


def test_a_channel_knows_who_is_at_the_other_end(pair: Pair) -> None:
    async def test(listener: Listener) -> None:
        assert (listener.channel.pid, listener.channel.uid) == (os.getpid(), os.getuid())

    with_channel(pair[0], test)


def test_a_full_socket_delivers_later_in_order_with_descriptors(pair: Pair) -> None:
    total = 2000

    def read_all() -> list[tuple[int, int]]:
        got = [registration.receive(pair[1]) for _ in range(total)]
        return [(item[0]["n"], number_in(item[1][0]) if item[1] else -1) for item in got if item]

    async def test(listener: Listener) -> None:
        for n in range(total):
            fds = [numbered(n)] if n % 20 == 0 else []
            listener.channel.send({"op": "x", "n": n, "fill": "x" * 200}, fds)
            registration.close_all(fds)
        assert listener.channel.queue, "the test is of a full socket"
        seen = await asyncio.to_thread(read_all)
        assert seen == [(n, n if n % 20 == 0 else -1) for n in range(total)]
        assert not listener.channel.queue
        listener.channel.send({"op": "after", "n": 0})
        assert registration.receive(pair[1]) == ({"op": "after", "n": 0}, [])

    with_channel(pair[0], test)


@pytest.mark.parametrize("port", [-1, 7])
def test_descriptors_without_a_place_end_nothing_but_a_hello(pair: Pair, port: int) -> None:
    async def test(listener: Listener) -> None:
        listener.channel.port = port
        registration.send(pair[1], {"op": "made", "link_id": 5}, [0])
        with no_more_descriptors():
            await listener.until(lambda: listener.got or listener.ends)
        if port < 0:
            assert (listener.got, listener.ends) == ([], 1)
            return
        assert listener.got == [{"op": "made", "link_id": 5, "error": module.NO_PLACE}]
        registration.send(pair[1], {"op": "more"})
        await listener.until(lambda: len(listener.got) == 2)

    with_channel(pair[0], test)


def test_a_peer_that_never_reads_is_cut_off(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUE", 50)

    async def test(listener: Listener) -> None:
        for _ in range(5000):
            listener.channel.send({"op": "x", "fill": "x" * 1000}, [0] if listener.channel.queue else [])
        assert listener.ends == 1
        assert not listener.channel.queue

    with_channel(pair[0], test)


@pytest.mark.parametrize("data", [*GARBAGE, DEEP, b""])
def test_garbage_ends_the_channel_and_not_the_host(pair: Pair, data: bytes) -> None:
    async def test(listener: Listener) -> None:
        registration.send(pair[1], {"op": "good"})
        socket.send_fds(pair[1], [data], [0])
        await listener.until(lambda: listener.ends)

    assert with_channel(pair[0], test).got == [{"op": "good"}]


def test_a_last_message_arrives_though_the_peer_has_said_something(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close with something unread would take it back."""
    monkeypatch.setattr(module, "LAST_WORD", 0.05)

    async def test(listener: Listener) -> None:
        registration.send(pair[1], {"op": "hello"})
        listener.channel.dismiss({"op": "stop"})
        assert registration.receive(pair[1]) == ({"op": "stop"}, [])
        await listener.until(lambda: listener.ends)
        assert not listener.got

    with_channel(pair[0], test)


def test_what_was_sent_before_the_end_still_arrives(pair: Pair) -> None:
    async def test(listener: Listener) -> None:
        for n in range(20):
            pair[1].send(json.dumps({"op": "x", "n": n}).encode())
        pair[1].close()
        await listener.until(lambda: listener.ends)
        listener.channel.send({"op": "late"}, [0])

    assert [message["n"] for message in with_channel(pair[0], test).got] == list(range(20))


def test_a_message_that_can_not_be_sent_ends_the_channel(pair: Pair) -> None:
    async def test(listener: Listener) -> None:
        pair[1].close()
        listener.channel.send({"op": "x"})
        assert listener.ends == 1

    with_channel(pair[0], test)


@pytest.mark.parametrize("read", [True, False])
def test_descriptors_that_take_long_to_close(pair: Pair, read: bool) -> None:
    """Whether the message they come with is read, or waits behind empty ones when the channel ends."""

    async def test(listener: Listener) -> None:
        fd, kept = lingering()
        if not read:
            listener.channel.loop.remove_reader(listener.channel.sock)
            pair[0].send(b"")
        socket.send_fds(pair[0], [b"garbage"], [fd])
        os.close(fd)
        begun = time.monotonic()
        if read:
            await listener.until(lambda: listener.ends)
        listener.channel.close()
        assert time.monotonic() - begun < 2
        assert listener.allowance.reaper.fill == 1
        for each in kept:
            each.close()  # which ends the lingering

    with_channel(pair[1], test)


def test_a_connection_ends_at_little_cost() -> None:
    """Who may connect may do so again and again; to look for all messages that there could be took 0.3 s here."""

    async def end_many() -> float:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(200)]
        channels = [Channel(ours, lambda *_: None, lambda _: None, Allowance(0.0)) for ours, _ in pairs]
        begun = time.thread_time()
        for channel in channels:
            channel.close()
        took = time.thread_time() - begun
        for _, theirs in pairs:
            theirs.close()
        return took

    assert asyncio.run(end_many()) < 0.1


def test_a_flood_of_messages_takes_a_part_of_the_time(pair: Pair) -> None:
    """Another user of the event loop has the rest."""

    async def test(listener: Listener) -> None:
        pair[0].setblocking(False)
        listener.work_s = 0.01
        end = time.monotonic() + 1
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                while True:
                    pair[0].send(b'{"op": "want"}')
            listener.news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listener.news.wait(), 0.05)
        assert 5 < len(listener.got) < 50, "of a hundred that there was time for"

    with_channel(pair[1], test)


def test_closing_an_empty_channel_costs_nothing_much(pair: Pair) -> None:
    """Who connects and goes, again and again, does not have the host read a thousand times from each connection."""
    spent = []

    async def test(listener: Listener) -> None:
        begun = time.thread_time()
        listener.channel.close()
        spent.append(time.thread_time() - begun)

    for _ in range(20):
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with_channel(ends[0], test)
        ends[1].close()
    assert min(spent) < module.MOST_QUEUED * 0.2e-6, "less than so many system calls take"
