"""Packets that the NIC cannot take: the sender is told the path's MTU, and gets through with it."""

from __future__ import annotations

import re
import socket

import pytest

from tests.framework.fabric.partition import Partition, PingResult
from tests.framework.traffic.datagrams import udp
from tests.framework.traffic.forge import Ear
from tests.framework.traffic.streams import MEGABYTE, connect, exchange
from tests.framework.traffic.traffic import address, carry
from tests.framework.uplink.uplink import MODES, NIC, REMOTE, Uplinked
from tests.framework.waiting import wait_until
from tests.system.conftest import MakeMachine

FITS_1500 = re.compile(r"mtu ?= ?1500")
TCP_MAXSEG = 2
IP_MTU, IPV6_MTU = 14, 24
SUBNET_ROUTES = {
    4: "10.0.0.0/24 dev wire proto kernel scope link src 10.0.0.1",
    6: "2001:db8::/64 dev wire proto kernel metric 256",
}


@pytest.fixture(scope="module", params=MODES)
def large(request: pytest.FixtureRequest, make_module_machine: MakeMachine) -> Uplinked:
    """Two partitions with MTU 9000, which were there before the uplink, beside a NIC with MTU 1500."""
    machine, mode = make_module_machine(), request.param
    fabric = machine.fabric.up()
    plain = [address.split("/")[0] for address in REMOTE]
    pattern, gateways = ("10.0.0.{}/24", "2001:db8::{}/64"), tuple(plain)
    if mode == "nat":
        pattern, gateways = ("10.78.0.{}/24", "fd78::{}/64"), ("10.78.0.1", "fd78::1")
    web, db = (
        fabric.add(label, *(each.format(number) for each in pattern), gateway=gateways, mtu=9000)
        for label, number in (("web", 5), ("db", 6))
    )
    machine.set("--mode", mode)
    return Uplinked(machine, mode, web, db)


@pytest.fixture(autouse=True)
def forgotten(large: Uplinked) -> None:
    """Each test begins without knowledge of any path's MTU."""
    for end in (large.web, large.db):
        end.run(["ip", "route", "flush", "cache"])
        end.run(["ip", "-6", "route", "flush", "cache"])


def path_mtu(sender: Partition, target: str) -> int:
    """What the sender's kernel believes by now."""
    family, level, option = (
        (socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_MTU)
        if ":" in target
        else (socket.AF_INET, socket.IPPROTO_IP, IP_MTU)
    )
    with sender.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((target, 9))
        return sock.getsockopt(level, option)


@pytest.mark.parametrize("version", [4, 6])
def test_ping_is_told(large: Uplinked, version: int) -> None:
    """Once by a message, then by its own kernel."""
    web, target = large.web, address(large.remote, version)
    assert path_mtu(web, target) == 9000
    with Ear(large.remote) as ear:
        argv = ["ping", "-n", "-M", "do", "-s", "4000", "-c", "3", "-i", "0.1", "-W", "1", target]
        done = web.run(argv, check=False)
        assert FITS_1500.search(done.stdout + done.stderr), done.stdout + done.stderr
        assert "From " in done.stdout, "nobody told it"
        assert path_mtu(web, target) == 1500
        assert web.ping(target, count=3).lost == 0
        assert max(len(seen.payload) for seen in ear.until(b"\x10\x11\x12\x13")) <= 1500


@pytest.mark.parametrize("version", [4, 6])
def test_ping_without_a_wish_gets_through(large: Uplinked, version: int) -> None:
    """Once told, the kernel cuts by itself."""
    web, target = large.web, address(large.remote, version)
    options = ("-s", "4000", "-M", "want")
    first = web.ping(target, *options, "-W", "1", count=5)
    assert first.received >= 3, first.output
    assert web.ping(target, *options, count=5).lost == 0


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_get_through(large: Uplinked, version: int) -> None:
    target = address(large.remote, version)
    with udp(large.remote, target) as receiver, udp(large.web, address(large.web, version)) as sender:
        sender.sendto(bytes(5000), receiver.getsockname())
        receiver.settimeout(0.3)
        with pytest.raises(TimeoutError):
            receiver.recv(1 << 16)
        receiver.settimeout(5)
        for size in (5000, 8900, 1472, 20_000):
            sender.sendto(bytes(size), receiver.getsockname())
            assert len(receiver.recv(1 << 16)) == size


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_with_jumbo_segments_gets_through(large: Uplinked, version: int) -> None:
    """The remote host says that it takes large segments, as one behind a path of many MTUs does."""
    remote, web = large.remote, large.web
    target, route = address(remote, version), ["ip", "route", "replace", *SUBNET_ROUTES[version].split()]
    remote.run([*route, "advmss", "8900"])
    try:
        near, far = connect(web, remote, target)
        assert near.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG) > 8000
        exchange(near, far, 4 * MEGABYTE, back=MEGABYTE)
        assert near.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG) <= 1460
        assert path_mtu(web, target) == 1500
    finally:
        remote.run(route)


@pytest.mark.parametrize("version", [4, 6])
def test_the_other_partition_and_the_machine(large: Uplinked, version: int) -> None:
    """The path between two partitions takes all; the one to the machine what its interface has."""
    web, db, here = large.web, large.db, large.here
    fits = str(9000 - (28 if version == 4 else 48))
    assert web.ping(address(db, version), "-M", "do", "-s", fits, count=5).lost == 0
    carry(web, db, address(db, version), 4 * MEGABYTE)
    for one, other in ((web, here), (here, web)):
        carry(one, other, address(other, version), 4 * MEGABYTE)
        assert one.ping(address(other, version), "-s", "8000", "-W", "1", count=5).received >= 3


def test_a_smaller_nic_under_a_stream(large: Uplinked) -> None:
    web, remote, here = large.web, large.remote, large.here
    near, far = connect(web, remote, remote.ip)
    for value in (1400, 1500):
        here.run(["ip", "link", "set", NIC, "mtu", str(value)])
        wait_until(lambda value=value: large.machine.uplink["mtu"] == value, 5, f"MTU {value} is followed")
        web.run(["ip", "route", "flush", "cache"])
        argv = ["ping", "-n", "-M", "do", "-s", "1430", "-c", "2", "-i", "0.1", "-W", "1", remote.ip]
        done = web.run(argv, check=False)
        received = PingResult.parse(done.stdout, 2).received
        assert received == (2 if value == 1500 else 0)
        assert bool(re.search("mtu ?= ?1400", done.stdout + done.stderr)) == (value == 1400)
    exchange(near, far, 4 * MEGABYTE, back=4 * MEGABYTE)
