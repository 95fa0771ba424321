"""A loop whose neighbours are hostile or slow: a third one goes on, and nobody sees what is not for him."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.framework.datapath.lingering import lingering
from tests.framework.datapath.loops import LoopBench
from tests.framework.datapath.peer import VNET, Peer, frame
from tests.framework.waiting import wait_until
from tests.unit.datapath.loop.test_loop_uplink import arp, ipv4
from vnicd.host.links.manager import Links
from vnicd.native import directory
from vnicd.native.testing import ring
from vnicd.process import unix_sockets

ME, A, B = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"


@pytest.fixture
def bench() -> Iterator[LoopBench]:
    with LoopBench(1, {1: ME, 2: A, 3: B}) as bench:
        yield bench


def nested(fd: int) -> int:
    """A Unix socket with a descriptor in its queue: closing the one closes the other."""
    one, other = socket.socketpair()
    socket.send_fds(one, [b"\1"], [fd])
    os.close(fd)
    one.close()
    return other.detach()


@pytest.mark.parametrize("wrap", [lambda fd: fd, nested])
def test_a_descriptor_in_the_doorbell(bench: LoopBench, wrap: Callable[[int], int]) -> None:
    """It is closed by nobody who has other work; the link with it ends."""
    evil, friend = bench.direct(2), bench.direct(3)
    fd, kept = lingering()
    try:
        fd = wrap(fd)
        socket.send_fds(evil.doorbell, [b"\1"], [fd])
        os.close(fd)
        for number in range(100):
            begun = time.monotonic()
            bench.tap_send(frame(B, ME, b"%d" % number))
            assert bench.receive(3)[2].endswith(b"%d" % number)
            assert time.monotonic() - begun < 2
        assert wait_until(lambda: bench.gone().get(2), 5, "the link is gone") == "doorbell_broken"
        begun = time.monotonic()
        bench.loop.detach(2)
        assert time.monotonic() - begun < 2
        friend.send(frame(ME, B, b"back"))
        assert bench.tap_receive().endswith(b"back")
    finally:
        for each in kept:
            each.close()


def test_a_doorbell_that_refuses_descriptors() -> None:
    """What the hosting daemon hands out does, where the kernel can."""
    with socket.socket(socket.AF_UNIX) as any_socket:
        try:
            any_socket.setsockopt(socket.SOL_SOCKET, unix_sockets.SO_PASSRIGHTS, 0)
        except OSError:
            pytest.skip("this kernel's sockets can't refuse descriptors (Linux 6.16)")
    orders: dict[int, list[int]] = {}
    links = Links(lambda port, message, fds: orders.__setitem__(port, [os.dup(fd) for fd in fds]))
    for port in (0, 1, 2):
        links.port_up(port)
    links.request(1, 2)
    ident = next(iter(links.by_id))
    for port in (1, 2):
        links.made(port, ident, os.memfd_create("side"), 4096)
    one, other = (socket.socket(fileno=orders[port].pop()) for port in (1, 2))
    with one, other:
        with pytest.raises(PermissionError):
            socket.send_fds(one, [b"\1"], [other.fileno()])
        one.send(b"\1")
        assert other.recv(10) == b"\1"
    for (fd,) in orders.values():
        os.close(fd)


def memory_of(peer: Peer) -> bytes:
    """All that a peer sees of the loop's side of its link."""
    return bytes(memoryview(peer.theirs))


def test_nobody_sees_what_is_not_for_him(bench: LoopBench) -> None:
    """Neither frames for others, nor frames that are dropped, short or long."""
    spy, friend = bench.direct(2), bench.direct(3)
    for size in (100, 1400, 9000, 60000):
        bench.tap_send(frame(A, ME, b"for the spy"))
        assert bench.receive(2)[2].endswith(b"for the spy")
        secret = b"%d: for B alone, " % size + b"secret" * (size // 6)
        bench.tap_send(frame(B, ME, secret))
        assert bench.receive(3)[2].endswith(secret)
        bench.tap_send(frame(A, ME, b"for the spy"))
        assert bench.receive(2)[2].endswith(b"for the spy")
        bench.tap_send(frame("02:00:00:00:00:99", ME, b"for nobody" * (size // 10)))
        bench.wait_for_drop("no_destination")
        assert b"secret" not in memory_of(spy)
        assert b"nobody" not in memory_of(spy) + memory_of(friend)


def test_a_slow_reader_costs_its_senders_a_part_of_their_time(bench: LoopBench) -> None:
    """It frees room for one record just before its sender would give it up; others go on."""
    slow, friend = bench.direct(2), bench.direct(3)
    stop = threading.Event()

    def read_slowly() -> None:
        while not stop.wait(0.008):
            slow.receive()

    def feed() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                bench.tap_send(frame(A, ME, bytes(60000)))
                for _ in range(4):
                    bench.tap_send(frame(B, ME, bytes(1000)))

    threads = [threading.Thread(target=each) for each in (read_slowly, feed)]
    for thread in threads:
        thread.start()
    got = 0
    end = time.monotonic() + 1
    while time.monotonic() < end:
        while friend.receive():
            got += 1
        stop.wait(0.0002)
    stop.set()
    for thread in threads:
        thread.join()
    assert got > 2000, "as many as 800 where each frame for the slow one is waited for"


@pytest.mark.parametrize("group", [True, False])
def test_relayed_frames_do_not_empty_a_direct_ring_in_one_go(group: bool) -> None:
    """Whoever has filled its direct ring and sends a frame by relay takes no turn of others; all waits as it begins."""
    bench = LoopBench(1, {1: ME, 2: A, 3: B})
    relay, noisy, other = bench.relay(), bench.direct(2), bench.direct(3)
    target = "ff:ff:ff:ff:ff:ff" if group else ME
    for peer, data, count in ((noisy, frame(ME, A, b"n" * 20), 170), (other, frame(ME, B, b"o" * 20), 48)):
        for _ in range(count):
            assert peer.producer.write(VNET + data, ring.FRAME, peer.port, 0)
        peer.producer.publish()
    relay.send(frame(target, A, b"r" * 20), source=2)
    with bench:
        came = b"".join(bench.tap_receive()[14:15] for _ in range(170 + 48 + 1))
    assert came[: came.rindex(b"o")].count(b"n") < 150, came
    assert came.count(b"r") == 1
    assert group or came.index(b"r") > came.rindex(b"n", 0, came.index(b"r")) > 100, (
        "in order behind the direct ones"
    )


IP_ME, IP_A, IP_B = "10.0.0.1", "10.0.0.2", "10.0.0.3"

SPOOFED = {
    "the address of a third": ipv4(ME, A, IP_ME, IP_B),
    "the address of the receiver": ipv4(ME, A, IP_ME, IP_ME),
    "ARP for a third": arp(2, ME, A, (A, IP_B), (ME, IP_ME)),
    "ARP with a foreign MAC": arp(2, ME, A, (B, IP_A), (ME, IP_ME)),
    "what cannot be judged": frame(ME, A, b"experimental"),
}


@pytest.mark.parametrize("kind", SPOOFED)
def test_a_peer_claims_no_foreign_address_by_a_direct_link(bench: LoopBench, kind: str) -> None:
    """Where addresses are guarded. Its own daemon should have dropped it, and may have been taken over."""
    for port, ip in ((1, IP_ME), (2, IP_A), (3, IP_B)):
        bench.directory.put(port, directory.LIVE, bench.macs[port], 1, 1500, [f"{ip}/24"])
    peer = bench.direct(2)
    bench.directory.set_flags(directory.UPLINK | directory.GUARD)
    for honest in (ipv4(ME, A, IP_ME, IP_A), arp(2, ME, A, (A, IP_A), (ME, IP_ME))):
        peer.send(honest)
        assert bench.tap_receive() == honest
    peer.send(SPOOFED[kind])
    bench.wait_for_drop("bad_address")
    peer.send(ipv4(ME, A, IP_ME, IP_A, b"goes on"))
    assert bench.tap_receive().endswith(b"goes on")
    bench.directory.set_flags(0)
    peer.send(SPOOFED[kind])
    assert bench.tap_receive() == SPOOFED[kind], "without a guard all pass"
