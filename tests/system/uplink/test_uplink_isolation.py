"""A partition speaks only for itself, and sees only what is for it, also with an uplink, in each mode."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.forge import (
    ADVERTISEMENT,
    IPV4,
    IPV6,
    REPLY,
    REQUEST,
    SOLICITATION,
    Ear,
    arp,
    is_unicast,
    neighbour,
    packed,
    say,
    udp,
)
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, Seen, frame
from tests.framework.traffic.traffic import carry
from tests.framework.uplink.uplink import Uplinked
from tests.framework.waiting import wait_until

GUARDED = ("shared", "nat")
ALL = (*GUARDED, "bridge")

STRANGER = "02:99:99:99:99:99"
ALL_NODES = "ff02::1"

WAYS = ["to the other partition", "to the world", "to all"]


def destination(up: Uplinked, way: str) -> tuple[str, list[Partition]]:
    """The MAC address, and where frames to it are heard."""
    beyond = up.machine.port0 if up.mode == "nat" else up.remote
    if way == "to the other partition":
        return up.db.mac, [up.db]
    if way == "to the world":
        return beyond.mac, [beyond]
    wire = [up.remote] if up.mode != "nat" else []
    return BROADCAST, [up.db, up.machine.port0, *wire]


def drops(up: Uplinked) -> int:
    """All frames that were dropped for any reason, wherever."""
    fabric = up.machine.fabric
    shown = [port["drops"] for port in fabric.call("stats")["ports"]]
    shown.append(up.machine.uplink["drops"])
    return sum(count for reasons in shown for count in reasons.values())


def is_not_heard(up: Uplinked, way: str, forge: Callable[[str], bytes]) -> None:
    """A frame to the MAC that `forge` is given, with `wrong` in it, reaches nobody, and is counted."""
    to, places = destination(up, way)
    before = drops(up)
    right = arp(REQUEST, up.web.mac, up.web.ip, up.web.ip, b"right", to=to)
    with ExitStack() as stack:
        ears = [stack.enter_context(Ear(place)) for place in places]
        say(up.web, *[forge(to)] * 3, right)
        for ear in ears:
            assert not [seen for seen in ear.until(b"right") if b"wrong" in seen.payload]
    wait_until(lambda: drops(up) >= before + 3, 5, "three drops are counted")


SOURCES: dict[str, Callable[[Uplinked], str]] = {
    "the other partition's": lambda up: up.db.mac,
    "the remote host's": lambda up: up.remote.mac,
    "the NIC's": lambda up: up.here.mac,
    "the machine's": lambda up: up.machine.port0.mac,
    "nobody's": lambda up: STRANGER,
    "a group's": lambda up: "01:00:5e:00:00:01",
}


@pytest.mark.parametrize("uplinked", ALL, indirect=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("whose", SOURCES)
def test_anothers_mac(uplinked: Uplinked, way: str, whose: str) -> None:
    source = SOURCES[whose](uplinked)
    before = uplinked.web.drops["bad_source"]
    is_not_heard(uplinked, way, lambda to: frame(to, source, EXPERIMENTAL, b"wrong"))
    wait_until(lambda: uplinked.web.drops["bad_source"] == before + 3, 5, "as bad_source")


def _from(up: Uplinked, to: str, packet: tuple[int, bytes], vlan: int | None = None) -> bytes:
    return frame(to, up.web.mac, *packet, vlan=vlan)


Forger = Callable[[Uplinked, str], bytes]
FORGED: dict[str, Forger] = {
    "IPv4 of the other": lambda up, to: _from(up, to, udp(up.db.ip, up.remote.ip, b"wrong")),
    "IPv4 of the remote host": lambda up, to: _from(up, to, udp(up.remote.ip, up.db.ip, b"wrong")),
    "IPv4 of the machine": lambda up, to: _from(up, to, udp(up.here.ip, up.db.ip, b"wrong")),
    "IPv4 of nobody": lambda up, to: _from(up, to, udp("203.0.113.9", up.db.ip, b"wrong")),
    "IPv6 of the other": lambda up, to: _from(up, to, udp(up.db.ip6, up.remote.ip6, b"wrong")),
    "IPv6 of nobody": lambda up, to: _from(up, to, udp("2001:db8:9::9", up.db.ip6, b"wrong")),
    "in a VLAN": lambda up, to: _from(up, to, udp(up.db.ip, up.remote.ip, b"wrong"), vlan=7),
    "truncated IPv4": lambda up, to: _from(up, to, (0x0800, b"\x45wrong")),
    "IPv4 with a wrong version": lambda up, to: _from(up, to, (0x0800, b"\x65" + bytes(30) + b"wrong")),
    "ARP request": lambda up, to: arp(REQUEST, up.web.mac, up.db.ip, up.remote.ip, b"wrong", to),
    "ARP reply": lambda up, to: arp(REPLY, up.web.mac, up.db.ip, up.remote.ip, b"wrong", to),
    "gratuitous ARP": lambda up, to: arp(REPLY, up.web.mac, up.db.ip, up.db.ip, b"wrong", to),
    "ARP of the gateway": lambda up, to: arp(
        REPLY, up.web.mac, gateway(up, 4), up.db.ip, b"wrong", to
    ),
    "solicitation": lambda up, to: _nd(up, to, SOLICITATION, up.db.ip6, up.remote.ip6),
    "duplicate detection": lambda up, to: _nd(up, to, SOLICITATION, "::", up.db.ip6),
    "advertisement": lambda up, to: _nd(up, to, ADVERTISEMENT, up.web.ip6, up.db.ip6),
    "advertisement from another": lambda up, to: _nd(up, to, ADVERTISEMENT, up.db.ip6, up.db.ip6),
    "advertisement of the gateway": lambda up, to: _nd(up, to, ADVERTISEMENT, up.web.ip6, gateway(up, 6)),
    "advertisement of a stranger": lambda up, to: _nd(up, to, ADVERTISEMENT, up.web.ip6, "2001:db8::77"),
    "hidden advertisement": lambda up, to: _nd(up, to, ADVERTISEMENT, up.web.ip6, up.db.ip6, True),
}  # fmt: skip


def gateway(up: Uplinked, version: int) -> str:
    router = up.machine.port0 if up.mode == "nat" else up.remote
    return router.ip if version == 4 else router.ip6


def _nd(up: Uplinked, to: str, kind: int, source: str, about: str, hidden: bool = False) -> bytes:
    return _from(up, to, neighbour(kind, source, ALL_NODES, about, up.web.mac, b"wrong", hidden))


@pytest.mark.parametrize("uplinked", GUARDED, indirect=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", FORGED)
def test_anothers_address(uplinked: Uplinked, way: str, what: str) -> None:
    is_not_heard(uplinked, way, lambda to: FORGED[what](uplinked, to))


OWN: dict[str, Forger] = {
    "IPv4": lambda up, to: _from(up, to, udp(up.web.ip, up.remote.ip, b"mine")),
    "IPv6": lambda up, to: _from(up, to, udp(up.web.ip6, up.remote.ip6, b"mine")),
    "ARP": lambda up, to: arp(REPLY, up.web.mac, up.web.ip, up.web.ip, b"mine", to),
    "probe": lambda up, to: arp(REQUEST, up.web.mac, "0.0.0.0", up.web.ip, b"mine", to),
    "advertisement": lambda up, to: _from(
        up, to, neighbour(ADVERTISEMENT, up.web.ip6, ALL_NODES, up.web.ip6, up.web.mac, b"mine")
    ),
    "hidden advertisement": lambda up, to: _from(
        up, to, neighbour(ADVERTISEMENT, up.web.ip6, ALL_NODES, up.web.ip6, up.web.mac, b"mine", True)
    ),
}


@pytest.mark.parametrize("uplinked", GUARDED, indirect=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", OWN)
def test_ones_own_address(uplinked: Uplinked, way: str, what: str) -> None:
    """The same kinds of frames are heard when they are true."""
    to, places = destination(uplinked, way)
    with ExitStack() as stack:
        ears = [stack.enter_context(Ear(place)) for place in places]
        say(uplinked.web, OWN[what](uplinked, to))
        for ear in ears:
            assert b"mine" in ear.until(b"mine")[-1].payload


@pytest.mark.parametrize("uplinked", ["bridge"], indirect=True)
@pytest.mark.parametrize("what", ["IPv4 of nobody", "IPv6 of nobody"])
def test_addresses_are_free_in_bridge_mode(uplinked: Uplinked, what: str) -> None:
    with Ear(uplinked.remote) as ear:
        say(uplinked.web, FORGED[what](uplinked, uplinked.remote.mac))
        assert ear.until(b"wrong")[-1].source == uplinked.web.mac


@pytest.mark.parametrize("uplinked", ["bridge"], indirect=True)
def test_no_partition_reaches_a_vlan(uplinked: Uplinked) -> None:
    is_not_heard(uplinked, "to the world", lambda _: FORGED["in a VLAN"](uplinked, uplinked.remote.mac))


def the_end(partition: Partition) -> bytes:
    """A frame of a partition that reaches all."""
    return arp(REQUEST, partition.mac, partition.ip, partition.ip, b"the end")


def is_for(seen: Seen, partition: Partition) -> bool:
    """Whether it is to the partition's MAC, and its addresses are in it as a sender's or receiver's."""
    addresses = (packed(partition.ip), packed(partition.ip6))
    return seen.to == partition.mac and any(address in seen.payload[:40] for address in addresses)


@pytest.mark.parametrize("uplinked", ALL, indirect=True)
def test_others_frames_are_not_seen(uplinked: Uplinked) -> None:
    """Not the other partition's traffic with the world or the machine, nor the machine's own."""
    web, db, remote, here = uplinked.web, uplinked.db, uplinked.remote, uplinked.here
    with Ear(db) as ear:
        for one, other in [*uplinked.ways, (here, remote), (remote, here)]:
            carry(one, other, other.ip)
            carry(one, other, other.ip6)
            assert one.ping(other.ip, "-s", "4000", count=3).lost == 0
        say(web, the_end(web))
        heard = ear.until(b"the end")
    assert not [seen for seen in heard if is_unicast(seen) and not is_for(seen, db)]
    assert not [seen for seen in heard if len(seen.payload) > 500]


@pytest.mark.parametrize("uplinked", ALL, indirect=True)
def test_frames_from_outside_for_nobody(uplinked: Uplinked) -> None:
    """A MAC that nobody has, and the machine's: no partition sees them."""
    web, db, remote, here = uplinked.web, uplinked.db, uplinked.remote, uplinked.here
    with Ear(web) as first, Ear(db) as second:
        for to in (STRANGER, here.mac):
            stray = frame(to, remote.mac, *udp(remote.ip, "10.0.0.99", b"stray"))
            say(remote, *[frame(to, remote.mac, EXPERIMENTAL, b"stray"), stray] * 10)
        for one, other in uplinked.ways:
            assert one.ping(other.ip, count=3).lost == 0
        say(web, the_end(web))
        say(db, the_end(db))
        for ear in (first, second):
            assert not [seen for seen in ear.until(b"the end") if b"stray" in seen.payload]


@pytest.mark.parametrize("uplinked", GUARDED, indirect=True)
def test_an_answer_for_anothers_address_has_no_effect(uplinked: Uplinked) -> None:
    """The real thing: a partition that takes the other's address for its own gets none of its traffic."""
    web, db = uplinked.web, uplinked.db
    asker = uplinked.here if uplinked.mode == "nat" else uplinked.remote
    for address in db.addresses:
        web.run(["ip", "addr", "add", address, "dev", web.ifname, "nodad"])
    try:
        with Ear(web) as ear:
            asker.run(["ip", "neigh", "flush", "all"])
            for target in (db.ip, db.ip6):
                assert asker.ping(target, count=5).lost == 0
            say(db, the_end(db))
            heard = ear.until(b"the end")
        places = {IPV4: slice(16, 20), IPV6: slice(24, 40)}
        targets = [seen.payload[places[seen.ethertype]] for seen in heard if seen.ethertype in places]
        assert not {packed(db.ip), packed(db.ip6)} & set(targets)
    finally:
        for address in db.addresses:
            web.run(["ip", "addr", "del", address, "dev", web.ifname])
