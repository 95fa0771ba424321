"""Shared mode: all partitions are on the wire with the NIC's one MAC, and told apart by their addresses."""

from __future__ import annotations

import json
import socket

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import Flow, udp
from tests.framework.traffic.forge import ARP, REQUEST, Ear, arp, is_unicast, packed, say
from tests.framework.traffic.forge import udp as datagram
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, frame, octets
from tests.framework.traffic.streams import MEGABYTE, connect, exchange
from tests.framework.uplink.uplink import NIC, NIC_MAC, Uplinked

pytestmark = pytest.mark.parametrize("uplinked", ["shared"], indirect=True)


def neighbours(partition: Partition) -> dict[str, str]:
    """The MAC of each address that `partition` has found."""
    shown = json.loads(partition.run(["ip", "-j", "neigh", "show", "dev", partition.ifname]).stdout)
    return {each["dst"]: each["lladdr"] for each in shown if "lladdr" in each}


def forget(*partitions: Partition) -> None:
    for partition in partitions:
        partition.run(["ip", "neigh", "flush", "dev", partition.ifname])


def test_one_mac_on_the_wire(uplinked: Uplinked) -> None:
    """In Ethernet headers, and within ARP and neighbour discovery, whoever asks first."""
    web, db, here, remote = uplinked.web, uplinked.db, uplinked.here, uplinked.remote
    ear = uplinked.machine.fabric.on_close(Ear(remote))
    for begins_inside in (True, False):
        forget(web, db, here, remote)
        for one in (web, db, here):
            for address, target in ((one.ip, remote.ip), (one.ip6, remote.ip6)):
                ping = one.ping(target, count=3) if begins_inside else remote.ping(address, count=3)
                assert ping.lost == 0
        known = neighbours(remote)
        for one in (web, db, here):
            assert {known[one.ip], known[one.ip6]} == {NIC_MAC}
        for one in (web, db):
            found = neighbours(one)
            assert {found[remote.ip], found[remote.ip6]} == {remote.mac}
    web.run(["ip", "neigh", "flush", "all"])
    web.ping("10.0.0.200", "-W", "0.1", count=1)  # who asks for an address that nobody has, tells of itself
    web.ping("2001:db8::200", "-W", "0.1", count=1)

    say(here, frame(BROADCAST, NIC_MAC, EXPERIMENTAL, b"the end"))
    heard = ear.until(b"the end")
    assert {seen.source for seen in heard} == {NIC_MAC}
    for partition in (web, db):
        assert not [seen for seen in heard if octets(partition.mac) in seen.payload]


def test_all_at_once(uplinked: Uplinked) -> None:
    """Both partitions and the machine on the same ports of the same remote host."""
    remote = uplinked.remote
    ends = (uplinked.web, uplinked.db, uplinked.here)
    for one in ends:
        with udp(remote, remote.ip, 7001) as server, udp(one, one.ip, 7001) as client:
            client.sendto(b"from " + one.name.encode(), (remote.ip, 7001))
            text, source = server.recvfrom(100)
            assert (text, source) == (b"from " + one.name.encode(), (one.ip, 7001))
            server.sendto(b"back", source)
            assert client.recv(100) == b"back"
    streams = [connect(one, remote, remote.ip) for one in ends]
    for near, far in streams:
        exchange(near, far, MEGABYTE, back=MEGABYTE)


def test_frames_for_nobody(uplinked: Uplinked) -> None:
    """What is for an address that no partition has reaches no partition, nor does what is no IP."""
    web, db, remote = uplinked.web, uplinked.db, uplinked.remote
    strays = [
        frame(to, remote.mac, *datagram(remote.ip6 if ":" in target else remote.ip, target, b"stray"))
        for target in ("10.0.0.2", "10.0.0.99", "2001:db8::2", "2001:db8::99")
        for to in (NIC_MAC, web.mac)
    ]
    strays.append(frame(NIC_MAC, remote.mac, EXPERIMENTAL, b"stray"))
    strays.append(arp(REQUEST, remote.mac, remote.ip, "10.0.0.99", b"stray", to=NIC_MAC))
    with Ear(web) as first, Ear(db) as second:
        say(remote, *strays)
        for partition, ear in ((web, first), (db, second)):
            say(remote, frame(NIC_MAC, remote.mac, *datagram(remote.ip, partition.ip, b"right")))
            heard = ear.until(b"right")
            assert not [seen for seen in heard if b"stray" in seen.payload]
            assert {seen.to for seen in heard if is_unicast(seen)} == {partition.mac}


def test_an_address_that_nobody_registered(uplinked: Uplinked) -> None:
    """Whoever is root in a partition may set one; it leads nowhere."""
    web, remote = uplinked.web, uplinked.remote
    for address, source in (("10.0.0.77/24", "10.0.0.77"), ("2001:db8::77/64", "2001:db8::77")):
        web.run(["ip", "addr", "add", address, "dev", web.ifname, "nodad"])
        target = remote.ip6 if ":" in source else remote.ip
        assert web.ping(target, "-I", source, "-W", "0.3", count=3).received == 0
        assert remote.ping(source, "-W", "0.3", count=3).received == 0
        web.run(["ip", "addr", "del", address, "dev", web.ifname])
    assert not {"10.0.0.77", "2001:db8::77"} & set(neighbours(remote))


def test_a_partition_that_goes_and_one_that_takes_its_address(uplinked: Uplinked) -> None:
    fabric, remote = uplinked.machine.fabric, uplinked.remote
    for label in ("first", "second"):
        one = fabric.add(label, "10.0.0.40/24", "2001:db8::40/64")
        assert remote.ping(one.ip, count=3).lost == 0
        assert remote.ping(one.ip6, count=3).lost == 0
        fabric.cli("partition", "remove", one.name)
        assert remote.ping(one.ip, "-W", "0.3", count=3).received == 0
        forget(remote)


@pytest.mark.parametrize("version", [4, 6])
def test_a_machine_that_forwards(uplinked: Uplinked, version: int) -> None:
    """It must not hand on the packets for partitions a second time, nor answer for them."""
    here, remote, web = uplinked.here, uplinked.remote, uplinked.web
    name = f"net.ipv4.conf.{NIC}.forwarding" if version == 4 else "net.ipv6.conf.all.forwarding"
    here.run(["sysctl", "-qw", f"{name}=1"])
    try:
        with Flow(remote, web) as flow:
            flow.send(2000, 0.3)
            flow.check()
        ping = remote.ping(web.ip if version == 4 else web.ip6, count=20)
        assert ping.lost == 0
        assert not {"DUP", "Redirect", "errors"} & set(
            ping.output.replace("!", " ").replace(",", " ").split()
        )
    finally:
        here.run(["sysctl", "-qw", f"{name}=0"])
        uplinked.machine.configure()  # turning IPv6 forwarding on and off costs routes


def test_who_asks_by_broadcast_is_heard(uplinked: Uplinked) -> None:
    """A broadcast reaches both partitions, an ARP request the one that it asks for, with the asker's MAC."""
    web, db, remote, everybody = uplinked.web, uplinked.db, uplinked.remote, "10.0.0.255"
    with udp(remote, remote.ip) as sender, udp(web, everybody, 7002) as one, udp(db, everybody, 7002) as two:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(b"to all", (everybody, 7002))
        assert (one.recv(100), two.recv(100)) == (b"to all", b"to all")
    with Ear(db, ARP) as ear:
        say(remote, arp(REQUEST, remote.mac, remote.ip, db.ip, b"who has db"))
        seen = ear.until(b"who has db")[-1]
    assert (seen.source, seen.payload[8:18]) == (remote.mac, octets(remote.mac) + packed(remote.ip))
