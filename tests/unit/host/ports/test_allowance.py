"""What a partition daemon may take of the hosting daemon: a new connection gives it nothing anew."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time

import pytest

from vnicd.host.ports.allowance import CREDIT_S, MOST_UNCLOSED, SHARE, Allowance
from vnicd.host.ports.channel import Channel
from vnicd.protocol.registration import Message


def test_the_credit_is_used_up_and_comes_back() -> None:
    allowance = Allowance(10.0)
    assert allowance.pay(CREDIT_S, 10.0) == 0
    assert allowance.pay(0.02, 10.0) == pytest.approx(0.02 / SHARE)
    assert allowance.pay(0.0, 10.1) == pytest.approx(0.02 / SHARE - 0.1)
    assert allowance.pay(0.0, 1000.0) == 0
    assert allowance.pay(CREDIT_S + 0.01, 1000.0) == pytest.approx(0.01 / SHARE), (
        "no more comes back than there was"
    )


class Daemon:
    """Connects again for each message."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.allowance = Allowance(self.loop.time())
        self.got = 0
        self.work_s = 0.0
        """What the handling of a message takes."""
        self.ended = asyncio.Event()

    def message(self, channel: Channel, message: Message, fds: list[int]) -> None:
        begun = time.thread_time()
        while time.thread_time() - begun < self.work_s:
            pass
        self.got += 1
        channel.discard(fds)
        channel.close()

    def end(self, channel: Channel) -> None:
        self.ended.set()

    async def say(self, data: bytes, fds: list[int]) -> None:
        """Until the host has closed the connection."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ended.clear()
        Channel(theirs, self.message, self.end, self.allowance)
        socket.send_fds(ours, [data], fds)
        await asyncio.wait_for(self.ended.wait(), 10)
        ours.close()


def test_connecting_again_gives_no_more_time() -> None:
    async def run() -> int:
        daemon = Daemon()
        daemon.work_s = 0.01
        end = time.monotonic() + 1
        while time.monotonic() < end:
            await daemon.say(b'{"op": "want"}', [])
        return daemon.got

    assert 5 < asyncio.run(run()) < 50, "of a hundred that there was time for"


def test_connecting_again_starts_no_thread() -> None:
    async def run() -> int:
        daemon = Daemon()
        for _ in range(50):
            await daemon.say(b"garbage", [0])
            while daemon.allowance.reaper.fill:
                await asyncio.to_thread(os.sched_yield)
        return sum(thread.name == "fd-reaper" for thread in threading.enumerate())

    before = sum(thread.name == "fd-reaper" for thread in threading.enumerate())
    assert asyncio.run(run()) - before <= 1


def test_more_than_can_be_closed() -> None:
    async def run() -> None:
        allowance = Allowance(0.0)
        allowance.reaper.put([os.open("/dev/null", os.O_RDONLY) for _ in range(MOST_UNCLOSED)])
        assert not allowance.is_overdrawn
        allowance.reaper.put([os.open("/dev/null", os.O_RDONLY)])
        assert allowance.is_overdrawn
        while allowance.reaper.fill:
            await asyncio.to_thread(os.sched_yield)
        assert not allowance.is_overdrawn

    asyncio.run(run())


def test_what_can_not_be_closed_is_not_held_against_the_next_daemon() -> None:
    """A little of it is: that is no reason for one more thread."""

    async def run() -> None:
        allowance = Allowance(0.0)
        first = allowance.reaper
        first.put([os.open("/dev/null", os.O_RDONLY)])
        allowance.renew()
        assert allowance.reaper is first
        first.put([os.open("/dev/null", os.O_RDONLY) for _ in range(MOST_UNCLOSED)])
        allowance.renew()
        assert allowance.reaper is not first and not allowance.is_overdrawn
        while first.fill:
            await asyncio.to_thread(os.sched_yield)

    asyncio.run(run())
