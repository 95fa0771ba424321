"""What one partition sends to another is nowhere in the memory of a third one's daemon."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import udp
from tests.framework.traffic.frames import EXPERIMENTAL, Tap, frame
from tests.framework.traffic.streams import connect, receive_exactly
from tests.framework.traffic.traffic import UDP_SEGMENT
from tests.framework.uplink.uplink import Uplinked
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeFabric

STRANGER = "02:99:99:99:99:99"
"""A MAC address that no port has."""

CHUNK = 1 << 22
ROUNDS = 4


class Secret:
    """Random bytes, and messages that consist of them, so that any part of one has them."""

    def __init__(self) -> None:
        self.needle = os.urandom(16)

    def message(self, size: int) -> bytes:
        return (self.needle * (size // len(self.needle) + 1))[:size]


def mappings(pid: int) -> Iterator[tuple[str, bytes]]:
    """All memory that a process can read, in pieces that overlap, and where each is."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *rest = line.split(maxsplit=5)
            start, end = (int(text, 16) for text in area.split("-"))
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            for place in range(start, end, CHUNK):
                yield f"{place:x} {rest[-1]}", os.pread(memory.fileno(), min(CHUNK + 64, end - place), place)


def files(pid: int) -> Iterator[tuple[str, bytes]]:
    """The content of all memory files that a process has open, mapped or not."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            what = str(entry.readlink())
            if what.startswith("/memfd:"):
                yield what, entry.read_bytes()


def finds(pid: int, secret: Secret) -> list[str]:
    """Where in the memory of a process the secret is."""
    return [where for look in (mappings, files) for where, data in look(pid) if secret.needle in data]


Way = Callable[[Partition, Partition, Secret], None]


def datagrams(one: Partition, other: Partition, secret: Secret) -> None:
    """Small ones, each in a frame of its own."""
    with udp(other, other.ip) as receiver, udp(one, one.ip) as sender:
        for size in (64, 300, 1400):
            sender.sendto(secret.message(size), receiver.getsockname())
            receiver.recv(1 << 16)


def super_datagram(one: Partition, other: Partition, secret: Secret) -> None:
    """A frame of almost 64 KiB, which the kernel cuts behind the TAP."""
    with udp(other, other.ip) as receiver, udp(one, one.ip) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1400)
        sender.sendto(secret.message(45 * 1400), receiver.getsockname())
        for _ in range(45):
            receiver.recv(1 << 16)


def stream(one: Partition, other: Partition, secret: Secret) -> None:
    """A TCP connection's frames, large and small, to and fro."""
    near, far = connect(one, other, other.ip)
    with near, far:
        for size in (100, 1 << 17):
            near.sendall(secret.message(size))
            receive_exactly(far, size)
            far.sendall(secret.message(size))
            receive_exactly(near, size)


def dropped(one: Partition, other: Partition, secret: Secret) -> None:
    """Frames with a foreign source, and for nobody (which an uplink sends on): short and long."""
    tap = Tap(one)
    for size in (64, 1400):
        tap.send(frame(STRANGER, one.mac, EXPERIMENTAL, secret.message(size)))
        tap.send(frame(other.mac, STRANGER, EXPERIMENTAL, secret.message(size)))


WAYS: dict[str, Way] = {each.__name__: each for each in (datagrams, super_datagram, stream, dropped)}


def mix(
    secret: Secret, way: Way, one: Partition, other: Partition, third: Partition, inward: bool = True
) -> None:
    """Have the secret go one way while the third partition talks with both, and look for it there after each round.

    `inward`: whether the other may begin to talk.
    """
    public = Secret()
    for _ in range(ROUNDS):
        for end in (one, other):
            datagrams(third, end, public)
            if end is one or inward:
                datagrams(end, third, public)
                super_datagram(end, third, public)
        way(one, other, secret)
        wait_until(lambda: finds(one.pid, secret), 5, "where it was sent from, it is found")
        assert not finds(third.pid, secret)
    assert finds(third.pid, public), "what is for it is found"


@pytest.fixture(scope="module")
def three(make_module_fabric: MakeFabric) -> tuple[Partition, Partition, Partition]:
    """Two that have a secret, and a third; all know each other's MACs, so that nothing is broadcast."""
    fabric: Fabric = make_module_fabric().up()
    one, other, third = (fabric.add(label, f"10.77.0.{at}/24") for at, label in enumerate(("a", "c", "b"), 1))
    for each in (one, other, third):
        for far in {one, other, third} - {each}:
            each.know(far)
    for pair in ((one, other), (one, third), (other, third)):
        pair[0].ping(pair[1].ip, count=5)
        fabric.wait_path(*pair, "direct")
    return one, other, third


@pytest.mark.parametrize("way", WAYS)
def test_a_third_daemon_never_has_it(three: tuple[Partition, Partition, Partition], way: str) -> None:
    mix(Secret(), WAYS[way], *three)


@pytest.mark.parametrize("way", WAYS)
def test_a_third_daemon_never_has_what_goes_by_the_uplink(uplinked: Uplinked, way: str) -> None:
    """To the other end of the NIC's cable and back: the hosting daemon has it, and the third one's link to that."""
    one, other, third = uplinked.web, uplinked.remote, uplinked.db
    mix(Secret(), WAYS[way], one, other, third, inward=uplinked.mode != "nat")
