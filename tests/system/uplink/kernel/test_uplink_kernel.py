"""Packet sockets on a veth that stands for the NIC: which frames come, in which rx queue, and what stays behind."""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from threading import Event, Thread

import pytest

from tests.framework.datapath.peer import VNET, frame
from tests.framework.descriptors import open_fds
from tests.framework.fabric.namespaces import NETNS, in_namespace
from tests.framework.uplink.wire import (
    BLUE,
    BROADCAST,
    GREEN,
    NIC,
    NIC_MAC,
    REMOTE,
    STRANGER,
    RxQueues,
    Wire,
    ethernet,
    ip,
)
from tests.framework.waiting import wait_until
from tests.system.conftest import TAG
from vnicd.errors import NotFound
from vnicd.kernel import packet_socket
from vnicd.kernel.interface import index_of
from vnicd.packet.fanout_filter import GROUP, program

MACS = {BLUE: 2, GREEN: 3}
BRIDGE = program(False, NIC_MAC, MACS, {})

OpenRxQueues = Callable[..., RxQueues]


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire(TAG)) as wire:
        yield wire


@pytest.fixture
def open_rx_queues(wire: Wire) -> Iterator[OpenRxQueues]:
    """Opens rx queues that are closed after the test."""
    with ExitStack() as stack:
        yield lambda code, queues=4: stack.enter_context(closing(RxQueues(wire, code, queues)))


def vlan(data: bytes) -> bytes:
    """The frame with the tag of VLAN 5."""
    return data[:12] + b"\x81\x00\x00\x05" + data[12:]


def test_frames_are_spread(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    queues = open_rx_queues(BRIDGE)
    sent = {
        2: frame(BLUE, STRANGER),
        3: frame(GREEN, STRANGER),
        GROUP: frame(BROADCAST, STRANGER),
    }
    wasted = [frame(NIC_MAC, STRANGER), frame(STRANGER, STRANGER), frame(BROADCAST, BLUE), vlan(sent[2])]
    with closing(wire.listen()) as far:
        for data in (*wasted, *sent.values()):
            far.send(data)
    for queue, data in sent.items():
        assert queues.wait(queue) == data
    assert not queues.waiting()


def ipv4(to: str, target: str) -> bytes:
    return ethernet(to, STRANGER, 0x0800, bytes(16) + ipaddress.ip_address(target).packed)


def ipv6(to: str, target: str) -> bytes:
    return ethernet(to, STRANGER, 0x86DD, b"\x60" + bytes(23) + ipaddress.ip_address(target).packed)


def arp(to: str, target: str) -> bytes:
    start = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return ethernet(to, STRANGER, 0x0806, start + bytes(16) + ipaddress.ip_address(target).packed)


def test_frames_are_spread_by_their_addresses(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    """The offsets in a real frame, whose Ethernet header is not where its data begins."""
    queues = open_rx_queues(
        program(True, NIC_MAC, {}, {"10.0.0.5": 2, "10.0.0.6": 3, "fd00::5": 2, "fd00::6": 3})
    )
    wasted = [ipv4(NIC_MAC, "10.0.0.2"), ipv6(NIC_MAC, "fd00::2"), arp(BROADCAST, "10.0.0.2")]
    with closing(wire.listen()) as far:
        for number, queue in ((5, 2), (6, 3)):
            for data in (
                ipv4(NIC_MAC, f"10.0.0.{number}"),
                ipv6(NIC_MAC, f"fd00::{number}"),
                arp(BROADCAST, f"10.0.0.{number}"),
            ):
                for each in (*wasted, vlan(data), data):
                    far.send(each)
                assert queues.wait(queue) == data
    assert not queues.waiting()


def test_another_program(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    queues = open_rx_queues(BRIDGE)
    packet_socket.set_program(queues.fds[1], program(False, NIC_MAC, {BLUE: 3}, {}))
    with closing(wire.listen()) as far:
        far.send(frame(GREEN, STRANGER))
        far.send(frame(BLUE, STRANGER))
    assert queues.wait(3) == frame(BLUE, STRANGER)
    assert not queues.waiting()


def test_nothing_is_in_a_wrong_rx_queue_from_the_first_frame_on(wire: Wire) -> None:
    """RxQueues are opened while frames come in without a pause."""
    stop = Event()
    with closing(wire.listen()) as far:

        def send() -> None:
            while not stop.is_set():
                far.send(frame(BLUE, STRANGER))
                far.send(frame(STRANGER, STRANGER))

        sender = Thread(target=send)
        sender.start()
        try:
            for _ in range(10):
                with closing(RxQueues(wire, BRIDGE)) as queues:
                    queues.wait(2)
                    assert set(queues.waiting()) <= {2}
        finally:
            stop.set()
            sender.join()


def test_what_leaves_is_not_read_back(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    queues = open_rx_queues(BRIDGE)
    transmit = wire.inside(lambda: packet_socket.open_transmit(NIC))
    try:
        with closing(wire.listen()) as far:
            for to in (BLUE, BROADCAST):
                os.write(transmit, VNET + frame(to, GREEN))
                assert far.recv(2000) == frame(to, GREEN)
            far.send(frame(BROADCAST, STRANGER))
        assert queues.wait(GROUP) == frame(BROADCAST, STRANGER)
        assert not queues.waiting()
        with pytest.raises(BlockingIOError):
            os.read(transmit, 2000)
    finally:
        os.close(transmit)


def test_rx_queues_keep_their_numbers_when_the_nic_was_down(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    queues = open_rx_queues(BRIDGE)
    ip("-n", wire.here, "link", "set", NIC, "down")
    for fd in queues.fds:
        with pytest.raises(OSError, match="Network is down"):
            os.read(fd, 100)
    ip("-n", wire.here, "link", "set", NIC, "up")
    with closing(wire.listen()) as far:
        wait_until(lambda: wire.show("link", "show", NIC)[0]["operstate"] == "UP", 5, "the link is up")
        queues.waiting()
        far.send(frame(GREEN, STRANGER))
        far.send(frame(BLUE, STRANGER))
    assert queues.wait(3) == frame(GREEN, STRANGER)
    assert queues.wait(2) == frame(BLUE, STRANGER)


def test_rx_queues_can_be_opened_while_the_nic_is_down(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    ip("-n", wire.here, "link", "set", NIC, "down")
    queues = open_rx_queues(BRIDGE)
    ip("-n", wire.here, "link", "set", NIC, "up")
    wait_until(lambda: wire.show("link", "show", NIC)[0]["operstate"] == "UP", 5, "the link is up")
    queues.waiting()
    with closing(wire.listen()) as far:
        far.send(frame(GREEN, STRANGER))
    assert queues.wait(3) == frame(GREEN, STRANGER)


def test_super_frames_come_whole(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    """64 KiB with a partial checksum, sent through the vnet header at one end, have it at the other."""
    header = struct.pack("=BBHHHH", 1, 1, 54, 1460, 34, 16)
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 5 << 4, 0x10, 1024, 0, 0)
    start = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + 30000, 0, 0, 64, 6, 0, bytes(4), bytes([10, 0, 0, 5]))
    data = frame(BLUE, STRANGER, b"")[:12] + b"\x08\x00" + start + tcp + bytes(30000)
    queues = open_rx_queues(BRIDGE)
    sender = in_namespace(str(NETNS / wire.remote), lambda: packet_socket.open_transmit(REMOTE))
    try:
        os.write(sender, header + data)
        got = wait_until(lambda: readable(queues.fds[2]), 5, "the super-frame")
    finally:
        os.close(sender)
    assert got[10:] == data
    assert struct.unpack("=BBHHHH", got[:10])[:2] == (1, 1)


def readable(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 17)
    except BlockingIOError:
        return b""


def test_memberships(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    """The NIC is promiscuous, as a veth can't filter, for as long as there are any; and as before when they end."""
    index = wire.inside(lambda: index_of(NIC))
    assert index

    def state() -> tuple[int, int]:
        (link,) = wire.show("link", "show", NIC)
        return link["promiscuity"], link["allmulti"]

    queues = open_rx_queues(BRIDGE)
    assert state() == (0, 0)
    two = packet_socket.set_memberships(queues.fds[1], index, {BLUE, GREEN}, set(), True)
    assert state() == (1, 1)
    one = packet_socket.set_memberships(queues.fds[1], index, {GREEN, STRANGER}, two, True)
    assert state() == (1, 1)
    none = packet_socket.set_memberships(queues.fds[1], index, set(), one)
    assert (none, state()) == (set(), (0, 0))
    packet_socket.set_memberships(queues.fds[1], index, {BLUE}, none, True)
    assert state() == (1, 1)


def test_all_ends_with_the_descriptors(wire: Wire) -> None:
    before = open_fds()
    index = wire.inside(lambda: index_of(NIC)) or 0
    with closing(RxQueues(wire, BRIDGE)) as queues:
        packet_socket.set_memberships(queues.fds[1], index, {BLUE}, set(), True)
    (link,) = wire.show("link", "show", NIC)
    assert (link["promiscuity"], link["allmulti"]) == (0, 0)
    assert len(wire.run("cat", "/proc/net/packet").splitlines()) == 1, "no socket but the heading"
    assert open_fds() == before


def test_memberships_of_a_nic_that_is_gone_can_be_dropped(wire: Wire, open_rx_queues: OpenRxQueues) -> None:
    index = wire.inside(lambda: index_of(NIC)) or 0
    queues = open_rx_queues(BRIDGE)
    old = packet_socket.set_memberships(queues.fds[1], index, {BLUE}, set(), True)
    ip("-n", wire.here, "link", "del", NIC)
    assert packet_socket.set_memberships(queues.fds[1], index, set(), old) == set()


def test_no_such_nic(wire: Wire) -> None:
    before = open_fds()
    for work in (
        lambda: packet_socket.open_rx_queues("nope", 3, BRIDGE),
        lambda: packet_socket.open_transmit("nope"),
    ):
        with pytest.raises(NotFound, match="no interface nope"):
            wire.inside(work)
    assert open_fds() == before
