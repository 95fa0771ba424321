"""The rules of nat and shared mode in the kernel: that they work, and that they go."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.framework.fabric.namespaces import NETNS, socket_in
from tests.framework.uplink.wire import NIC, Wire, ip
from tests.framework.waiting import holds_for
from tests.system.conftest import TAG
from vnicd.errors import Unsupported
from vnicd.kernel.firewall import nftables
from vnicd.kernel.forwarding import Forwarding
from vnicd.packet.nft_rules import bypass, ruleset
from vnicd.spec.uplink import make_uplink

TABLE = "vnicd-test"
INSIDE = "vnicd0"
SPEC = make_uplink("nic", "nat", publish=["8080:web:80", "10.0.0.2:8081:web:80"])
ADDRESSES = {"web": ("10.78.0.5/24", "fd78::5/64")}
RULES = ruleset(TABLE, INSIDE, NIC, SPEC, ADDRESSES)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire(TAG)) as wire:
        wire.address()
        yield wire


@pytest.fixture
def partition(wire: Wire) -> Iterator[str]:
    """A namespace behind INSIDE, which is the gateway; the interface is a veth, as no daemon is here to serve a TAP."""
    name = f"{wire.here}-inside"
    ip("netns", "add", name)
    wire.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", where=name)
    ip("-n", wire.here, "link", "add", INSIDE, "type", "veth", "peer", "name", "vnic0", "netns", name)
    for where, device, addresses in (
        (wire.here, INSIDE, ("10.78.0.1/24", "fd78::1/64")),
        (name, "vnic0", ("10.78.0.5/24", "fd78::5/64")),
    ):
        for address in addresses:
            ip("-n", where, "addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        ip("-n", where, "link", "set", device, "up")
    for gateway in ("10.78.0.1", "fd78::1"):
        ip("-n", name, "route", "add", "default", "via", gateway)
    yield name
    ip("netns", "del", name)


@pytest.fixture
def claimed(wire: Wire, partition: str) -> Iterator[Forwarding]:
    """The machine forwards, and has the rules."""
    claim = wire.inside(lambda: Forwarding(INSIDE, NIC, True))
    wire.inside(claim.claim)
    wire.inside(lambda: nftables.load(RULES))
    yield claim
    wire.inside(lambda: nftables.remove(TABLE))
    wire.inside(claim.release)


def tcp(name: str, address: str) -> socket.socket:
    sock = socket_in(
        str(NETNS / name), socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM
    )
    sock.settimeout(3)
    return sock


def peer_seen(server: str, at: tuple[str, int], client: str, to: tuple[str, int]) -> str:
    """Whom a server at an address sees when a client connects to another."""
    with tcp(server, at[0]) as listener, tcp(client, to[0]) as sock:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(at)
        listener.listen()
        sock.connect(to)
        end, (address, *_) = listener.accept()
        end.close()
        return str(address)


@pytest.mark.usefixtures("claimed")
def test_partitions_go_out_as_the_machine(wire: Wire, partition: str) -> None:
    assert peer_seen(wire.remote, ("10.0.0.1", 90), partition, ("10.0.0.1", 90)) == "10.0.0.2"
    assert peer_seen(wire.remote, ("fd00::1", 90), partition, ("fd00::1", 90)) == "fd00::2"


@pytest.mark.usefixtures("claimed")
def test_a_published_port(wire: Wire, partition: str) -> None:
    """From outside, from the machine itself, and from a partition, which must not be answered directly."""
    for at, to in (("10.78.0.5", "10.0.0.2"), ("fd78::5", "fd00::2")):
        remote = to[:-1] + "1"
        assert peer_seen(partition, (at, 80), wire.remote, (to, 8080)) == remote
        assert peer_seen(partition, (at, 80), wire.here, (to, 8080)) == to
        assert peer_seen(partition, (at, 80), partition, (to, 8080)) == at[:-1] + "1"
    assert peer_seen(partition, ("10.78.0.5", 80), wire.remote, ("10.0.0.2", 8081)) == "10.0.0.1"


@pytest.mark.usefixtures("claimed")
def test_nobody_gets_in_by_the_nic(wire: Wire, partition: str) -> None:
    for option, subnet, router, address in (
        ("-4", "10.78.0.0/24", "10.0.0.2", "10.78.0.5"),
        ("-6", "fd78::/64", "fd00::2", "fd78::5"),
    ):
        ip("-n", wire.remote, option, "route", "add", subnet, "via", router)
        with tcp(partition, address) as listener, tcp(wire.remote, address) as sock:
            listener.bind((address, 80))
            listener.listen()
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.connect((address, 80))


@pytest.mark.usefixtures("claimed")
@pytest.mark.parametrize("source", ["192.0.2.9", "2001:db8::9"])
def test_only_the_subnets_addresses_go_out(wire: Wire, partition: str, source: str) -> None:
    """Others, which would leave as they are, do not."""
    ip("-n", partition, "addr", "add", source, "dev", "vnic0", *(["nodad"] if ":" in source else []))
    remote = "fd00::1" if ":" in source else "10.0.0.1"
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with (
        closing(socket_in(str(NETNS / wire.remote), family, socket.SOCK_DGRAM)) as far,
        closing(socket_in(str(NETNS / partition), family, socket.SOCK_DGRAM)) as false,
        closing(socket_in(str(NETNS / partition), family, socket.SOCK_DGRAM)) as true,
    ):
        far.bind((remote, 90))
        far.settimeout(3)
        false.bind((source, 0))
        for sock, text in ((false, b"false"), (true, b"true")):
            sock.sendto(text, (remote, 90))
        assert far.recv(100) == b"true"
        far.setblocking(False)
        holds_for(lambda: not received(far), 0.1, "nothing else comes")


def received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(100)
    except BlockingIOError:
        return b""


def test_in_shared_mode_the_machine_does_not_forward_what_the_lanes_have_seen(
    wire: Wire, partition: str
) -> None:
    """A machine that forwards has routes to its partitions, as port 0's interface has them."""
    wire.run("sysctl", "-qw", "net.ipv4.conf.all.forwarding=1", "net.ipv6.conf.all.forwarding=1")
    for address, rules in (("10.78.0.5", ["10.78.0.5"]), ("fd78::5", ["10.78.0.5", "fd78::5"])):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        router = "fd00::2" if ":" in address else "10.0.0.2"
        ip("-n", wire.remote, "route", "add", address, "via", router)
        with (
            closing(socket_in(str(NETNS / partition), family, socket.SOCK_DGRAM)) as inside,
            closing(socket_in(str(NETNS / wire.remote), family, socket.SOCK_DGRAM)) as far,
        ):
            inside.bind((address, 90))
            inside.settimeout(3)
            far.sendto(b"forwarded", (address, 90))
            assert inside.recv(100) == b"forwarded"
            wire.inside(lambda rules=rules: nftables.load(bypass(TABLE, NIC, rules)))
            inside.setblocking(False)
            far.sendto(b"forwarded", (address, 90))
            holds_for(lambda inside=inside: not received(inside), 0.1, "nothing comes")
            assert " 0% packet loss" in wire.run("ping", "-c1", "-W1", router, where=wire.remote)


def test_tables_come_and_go(wire: Wire) -> None:
    before = wire.run("nft", "list", "ruleset")
    for script in (RULES, RULES, bypass(TABLE, NIC, ["10.0.0.5", "fd00::5"]), bypass(TABLE, NIC, [])):
        wire.inside(lambda script=script: nftables.load(script))
        assert wire.inside(lambda: nftables.present(TABLE))
        assert not wire.inside(lambda: nftables.present(f"{TABLE}-2"))
    for _ in range(2):
        wire.inside(lambda: nftables.remove(TABLE))
        assert not wire.inside(lambda: nftables.present(TABLE))
    assert wire.run("nft", "list", "ruleset") == before


def test_what_the_kernel_refuses(wire: Wire) -> None:
    with pytest.raises(Unsupported, match=r"nftables: .*No such file or directory"):
        wire.inside(lambda: nftables.load(f"add rule inet {TABLE} nope drop\n"))
    with pytest.raises(Unsupported, match="nftables: syntax error"):
        wire.inside(lambda: nftables.load("this is not a script\n"))
    assert not wire.inside(lambda: nftables.present(TABLE))


def test_no_nft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="nft is not installed") as caught:
        nftables.load(RULES)
    assert "apt install" in caught.value.hint
    nftables.remove(TABLE)
