"""Super-frames are cut into what the kernel's own segmentation sends, byte for byte."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.framework.fabric.namespaces import NETNS, socket_in
from tests.framework.traffic.frames import ETH_P_ALL, SOL_PACKET
from tests.framework.traffic.superframes import ACK, CWR, FIN, PSH, TCP, UDP, Super
from tests.framework.uplink.bigtcp import set_max_sizes
from tests.framework.waiting import wait_until
from vnicd.native.testing import packets

PACKET_VNET_HDR = 15
SO_RCVBUFFORCE = 33
PACKET_OUTGOING = 4
VNET = 10

Heard = list[tuple[bytes, bytes]]
"""Vnet headers and frames."""

PAYLOAD = bytes(index * 31 % 251 for index in range(20_000))


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    assert not done.returncode, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


class Cutter:
    """near0 - (left, a bridge, right) - far0: the kernel cuts what leaves right, and writes all checksums."""

    def __init__(self, tag: str) -> None:
        self.near, self.middle, self.far = (f"{tag}-{each}" for each in ("near", "middle", "far"))
        self.stack = ExitStack()

    def build(self) -> Cutter:
        for name in (self.near, self.middle, self.far):
            run("ip", "netns", "add", name)
            self.stack.callback(run, "ip", "netns", "del", name)
            self.run(name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv4.tcp_ecn=1")
        self.run(self.middle, "ip", "link", "add", "bridge", "type", "bridge")
        for ours, theirs, name in (("left", "near0", self.near), ("right", "far0", self.far)):
            self.run(
                self.middle, "ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name
            )
            self.run(self.middle, "ip", "link", "set", ours, "master", "bridge", "up")
        self.run(self.middle, "ip", "link", "set", "bridge", "up")
        self.run(
            self.middle, "ethtool", "-K", "right", "tso", "off", "tx", "off", "tx-udp-segmentation", "off"
        )
        for name, device, number in ((self.near, "near0", 1), (self.far, "far0", 2)):
            self.run(name, "ip", "link", "set", device, "up")
            self.run(name, "ip", "addr", "add", f"192.0.2.{number}/24", "dev", device)
            self.run(name, "ip", "addr", "add", f"2001:db8::{number}/64", "dev", device, "nodad")
        return self

    def run(self, name: str, *argv: str) -> str:
        return run("ip", "netns", "exec", name, *argv)

    def listen(self, name: str, device: str) -> socket.socket:
        """A packet socket that hears what arrives, with its vnet header."""
        sock = self.stack.enter_context(socket_in(str(NETNS / name), socket.AF_PACKET, socket.SOCK_RAW))
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.bind((device, ETH_P_ALL))
        sock.setblocking(False)
        return sock


@pytest.fixture(scope="module")
def cutter() -> Iterator[Cutter]:
    made = Cutter(f"{os.getpid() % 100_000}f-cut")
    with made.stack:
        yield made.build()


def heard(sock: socket.socket) -> Heard:
    """(vnet header, frame) of all that has arrived."""
    found = []
    while True:
        try:
            data, sender = sock.recvfrom(1 << 19)
        except BlockingIOError:
            return found
        if sender[2] != PACKET_OUTGOING:
            found.append((data[:VNET], data[VNET:]))


SENT = [
    Super(PAYLOAD, 1400, outer=version, transport=transport, flags=flags, ip_options=options)
    for version in (4, 6)
    for transport in (TCP, UDP)
    for flags in ((ACK | PSH, ACK | FIN | CWR) if transport == TCP else (0,))
    for options in ((b"", b"\1\1\1\0") if version == 4 else (b"",))
]


@pytest.mark.parametrize("whole", SENT, ids=lambda whole: f"{whole.outer}-{whole.transport}-{whole.flags}")
def test_plain(cutter: Cutter, whole: Super) -> None:
    """What is sent at the right itself."""
    with cutter.listen(cutter.middle, "right") as out, cutter.listen(cutter.far, "far0") as ear:
        out.send(whole.vnet() + whole.frame())
        expected = [frame for _, frame in packets.segments(whole.vnet(), whole.frame())]
        seen: list[bytes] = []

        def all_seen() -> bool:
            seen.extend(frame for _, frame in heard(ear) if frame[:12] == whole.macs)
            return len(seen) >= len(expected)

        wait_until(all_seen, 5, "all segments are heard")
        assert seen == expected


VXLAN = ("type", "vxlan", "id", "42", "dstport", "4789")
GENEVE = ("type", "geneve", "id", "42", "remote")
BY4 = ("remote", "192.0.2.{far}", "local", "192.0.2.{near}")
BY6 = ("remote", "2001:db8::{far}", "local", "2001:db8::{near}")
KINDS = {
    "vxlan4": (*VXLAN, *BY4, "noudpcsum"),
    "vxlan4-csum": (*VXLAN, *BY4, "udpcsum"),
    "vxlan6": (*VXLAN, *BY6, "udp6zerocsumtx", "udp6zerocsumrx"),
    "vxlan6-csum": (*VXLAN, *BY6),
    "geneve4-csum": (*GENEVE, "192.0.2.{far}", "udpcsum"),
    "geneve6-csum": (*GENEVE, "2001:db8::{far}"),
    "gre4-csum": ("type", "gre", *BY4, "csum"),
    "gretap6": ("type", "ip6gretap", *BY6),
}
"""Arguments of `ip link add` for each kind of tunnel."""


@pytest.fixture(params=KINDS)
def tunnel(cutter: Cutter, request: pytest.FixtureRequest) -> Iterator[str]:
    """A tunnel between near and far, with addresses in it."""
    for name, near, far in ((cutter.near, 1, 2), (cutter.far, 2, 1)):
        words = [each.format(near=near, far=far) for each in KINDS[request.param]]
        try:
            cutter.run(name, "ip", "link", "add", "tunnel", *words)
        except AssertionError as error:
            if "Unknown device type" in str(error):
                pytest.skip(f"this kernel has no {request.param}")
            raise
        cutter.run(name, "ip", "link", "set", "tunnel", "up")
        cutter.run(name, "ip", "addr", "add", f"10.9.0.{near}/24", "dev", "tunnel")
        cutter.run(name, "ip", "addr", "add", f"fd00:9::{near}/64", "dev", "tunnel", "nodad")
    yield request.param
    for name in (cutter.near, cutter.far):
        cutter.run(name, "ip", "link", "del", "tunnel")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.usefixtures("tunnel")
def test_tunnel(cutter: Cutter, version: int) -> None:
    """A stream by a tunnel: super-frames at the left, their segments at the far end."""
    whole, pieces = stream(cutter, "10.9.0.2" if version == 4 else "fd00:9::2", version)
    supers = [(vnet, frame) for vnet, frame in whole if packets.is_encapsulated(vnet, frame)]
    cut = {segment for vnet, frame in supers for _, segment in packets.segments(vnet, frame)}
    assert len(cut) > 100 and cut <= {frame for _, frame in pieces}


@pytest.mark.parametrize("version", [4, 6])
def test_big_tcp(cutter: Cutter, version: int) -> None:
    """The super-frames that one of more than 64 KiB is cut into stand for the segments that the kernel cuts it into."""
    for name, device in ((cutter.near, "near0"), (cutter.middle, "left"), (cutter.middle, "right")):
        set_max_sizes(name, device, 200_000)
    whole, pieces = stream(cutter, "192.0.2.2" if version == 4 else "2001:db8::2", version, 400_000)
    big = [packets.strip_jumbo(vnet + frame) for vnet, frame in whole if len(frame) > 65_600]
    made = [each for payload in big for each in packets.segments(payload[:VNET], payload[VNET:], True, True)]
    cut = {segment for vnet, frame in made if vnet[1] for _, segment in packets.segments(vnet, frame)}
    assert len(cut) > 100 and cut <= {frame for _, frame in pieces}


def stream(cutter: Cutter, target: str, version: int, size: int = 19_997) -> tuple[Heard, Heard]:
    """What was heard at the left and at the far end of twenty times `size` bytes that go to `target`."""
    data = (PAYLOAD * (size // len(PAYLOAD) + 1))[:size]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    whole: Heard = []
    pieces: Heard = []
    with ExitStack() as stack:
        enter = stack.enter_context
        listener = enter(socket_in(str(NETNS / cutter.far), family, socket.SOCK_STREAM))
        listener.bind((target, 0))
        listener.listen()
        sender = enter(socket_in(str(NETNS / cutter.near), family, socket.SOCK_STREAM))
        sender.settimeout(10)
        sender.connect(listener.getsockname())
        receiver = enter(listener.accept()[0])
        receiver.settimeout(10)
        ears = enter(cutter.listen(cutter.middle, "left")), enter(cutter.listen(cutter.far, "far0"))
        for _ in range(20):
            sender.sendall(data)
            left = size
            while left:
                left -= len(receiver.recv(left))
            whole += heard(ears[0])
            pieces += heard(ears[1])
    return whole, pieces
