"""The machine itself: it and its partitions reach each other by port 0, and its own ways stay."""

from __future__ import annotations

import json

import pytest

from tests.framework.traffic.forge import Ear, is_unicast, packed, say
from tests.framework.traffic.frames import BROADCAST, EXPERIMENTAL, frame
from tests.framework.traffic.streams import MEGABYTE
from tests.framework.traffic.traffic import carry
from tests.framework.uplink.uplink import MODES, NIC_MAC, Uplinked, add
from tests.framework.waiting import wait_until


def test_port_0_in_each_mode(uplinked: Uplinked) -> None:
    """Its own interface: the NIC's MAC, MTU and addresses, or the gateway's in nat mode."""
    up = uplinked.machine.uplink
    port0 = uplinked.machine.port0
    assert (up["ifname"], up["state"], up["mac"]) == ("vnicd0", "up", NIC_MAC)
    (link,) = json.loads(uplinked.here.run(["ip", "-j", "link", "show", "vnicd0"]).stdout)
    assert link["mtu"] == 1500
    if uplinked.mode == "nat":
        assert set(port0.addresses) == {"10.78.0.1/24", "fd78::1/64"}
    else:
        assert port0.mac == NIC_MAC
        assert set(port0.addresses) == {"10.0.0.2/32", "2001:db8::2/128"}


def test_the_machines_route_to_the_world_stays(uplinked: Uplinked) -> None:
    """Only the partitions' own addresses lead to port 0."""
    here = uplinked.here
    for target in (uplinked.remote.ip, uplinked.remote.ip6, "10.0.0.99", "2001:db8::99", "192.0.2.1"):
        (route,) = json.loads(here.run(["ip", "-j", "route", "get", target]).stdout)
        assert route["dev"] == "eth1", target
        assert route["prefsrc"] == (here.ip6 if ":" in target else here.ip)
    for target in (uplinked.web.ip, uplinked.web.ip6):
        (route,) = json.loads(here.run(["ip", "-j", "route", "get", target]).stdout)
        assert route["dev"] == "vnicd0", target


def test_nothing_between_machine_and_partition_is_on_the_wire(uplinked: Uplinked) -> None:
    """Neither frames nor a question for the partition's address."""
    here, web = uplinked.here, uplinked.web
    with Ear(uplinked.remote) as ear:
        here.run(["ip", "neigh", "flush", "dev", "vnicd0"])
        for one, target in ((here, web.ip), (here, web.ip6), (web, here.ip), (web, here.ip6)):
            assert one.ping(target, count=5).lost == 0
        carry(here, web, web.ip, 4 * MEGABYTE)
        carry(web, here, here.ip6, 4 * MEGABYTE)
        say(here, frame(BROADCAST, NIC_MAC, EXPERIMENTAL, b"the end"))
        heard = ear.until(b"the end")
    both = [
        seen
        for seen in heard
        for mine, its in ((here.ip, web.ip), (here.ip6, web.ip6))
        if packed(mine) in seen.payload[:60] and packed(its) in seen.payload[:60]
    ]
    assert not [seen for seen in both if is_unicast(seen)]
    assert not [seen for seen in both if seen.source == NIC_MAC and uplinked.mode == "bridge"]


@pytest.mark.parametrize("uplinked", MODES[:2], indirect=True)
def test_a_partition_of_another_subnet(uplinked: Uplinked) -> None:
    """The machine has no address there; the partition knows the way to the machine."""
    fabric, here = uplinked.machine.fabric, uplinked.here
    other = fabric.add("other", "172.20.0.5/24", "fd20::5/64")
    other.run(["ip", "route", "add", here.ip, "dev", other.ifname])
    other.run(["ip", "route", "add", here.ip6, "dev", other.ifname])
    assert here.ping(other.ip, count=5).lost == 0
    assert here.ping(other.ip6, count=5).lost == 0
    assert other.ping(here.ip, count=5).lost == 0
    assert other.ping(here.ip6, count=5).lost == 0
    fabric.cli("partition", "remove", other.name)
    routes = ["ip", "route", "show", "dev", "vnicd0"]
    wait_until(lambda: other.ip not in here.run(routes).stdout, 5, "its route is gone")


@pytest.mark.parametrize("uplinked", MODES[:2], indirect=True)
@pytest.mark.parametrize("address", ["10.0.0.22/24", "2001:db8::22/64"])
def test_an_address_that_the_nic_gets_later(uplinked: Uplinked, address: str) -> None:
    """Partitions find it at port 0 too, until the NIC has it no longer."""
    here, web = uplinked.here, uplinked.web
    plain, _ = address.split("/")
    here.run(["ip", "addr", "add", address, "dev", "eth1", *(["nodad"] if ":" in plain else [])])
    try:
        wait_until(lambda: web.ping(plain, "-W", "0.2", count=1).received, 5, "the address answers")
        assert web.ping(plain, count=5).lost == 0
    finally:
        here.run(["ip", "addr", "del", address, "dev", "eth1"])
    wait_until(lambda: plain not in str(uplinked.machine.port0.addresses), 5, "it went")
    wait_until(lambda: not web.ping(plain, "-W", "0.2", count=2).received, 5, "it answers no more")


def test_partitions_that_come_and_go(uplinked: Uplinked) -> None:
    """The machine's routes follow."""
    fabric, here = uplinked.machine.fabric, uplinked.here
    before = uplinked.machine.state()
    new = add(fabric, uplinked.mode, "new", 30)
    for target in (new.ip, new.ip6):
        assert here.ping(target, count=3).lost == 0
    fabric.cli("partition", "remove", new.name)
    assert here.ping(new.ip, "-W", "0.2", count=2).received == 0
    wait_until(lambda: uplinked.machine.state() == before, 5, "all is as before")
