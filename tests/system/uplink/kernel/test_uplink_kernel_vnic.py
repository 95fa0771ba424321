"""Port 0's interface and routes, by themselves, beside a veth that stands for the NIC."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.framework.uplink.wire import BLUE, GREEN, NIC, NIC_MAC, Wire, ip
from tests.fuzz.targets.descriptors import all_kinds
from tests.system.conftest import TAG
from vnicd.errors import Busy, Invalid, NotFound
from vnicd.kernel import nic, readdress, tap, vnic


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire(TAG)) as wire:
        yield wire


def facts(wire: Wire, name: str = NIC) -> nic.Facts:
    found = wire.inside(lambda: nic.look(name))
    assert found
    return found


class Vnic:
    """Port 0's interface in the namespace of a wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.fd, self.name = wire.inside(vnic.make_vnic)

    def configure(self, addresses: list[str], routes: list[str], mac: str = NIC_MAC, mtu: int = 1500) -> None:
        self.wire.inside(lambda: vnic.configure_vnic(self.name, mac, mtu, addresses, routes))

    def addresses(self) -> list[str]:
        (link,) = self.wire.show("addr", "show", self.name)
        return [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]]

    def routes(self) -> set[str]:
        found = [
            route
            for option in ("-4", "-6")
            for route in self.wire.show(option, "route", "show", "dev", self.name, "proto", str(vnic.OURS))
        ]
        return {route["dst"] for route in found}

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def port(wire: Wire) -> Iterator[Vnic]:
    with closing(Vnic(wire)) as port:
        yield port


LINK_LOCAL = "fe80::aa:ff:fe00:1/64"
COPIES = ["10.0.0.2/32", "fd00::2/128"]
ROUTES = ["10.0.0.5", "10.0.0.6", "fd00::5"]


def test_the_first_free_name(wire: Wire) -> None:
    with closing(Vnic(wire)) as first:
        with closing(Vnic(wire)) as second:
            assert (first.name, second.name) == ("vnicd0", "vnicd1")
        with closing(Vnic(wire)) as third:
            assert third.name == "vnicd1"
    assert [link["ifname"] for link in wire.show("link") if link["ifname"].startswith("vnicd")] == []


def test_port_0_is_configured(wire: Wire, port: Vnic) -> None:
    wire.address()
    port.configure(COPIES, ROUTES, mtu=1400)
    (link,) = wire.show("link", "show", port.name)
    assert (link["address"], link["mtu"]) == (NIC_MAC, 1400)
    assert "UP" in link["flags"]
    assert sorted(port.addresses()) == sorted([*COPIES, LINK_LOCAL])
    assert port.routes() == set(ROUTES)
    routes = [
        *wire.show("route", "show", "dev", port.name),
        *wire.show("-6", "route", "show", "dev", port.name),
    ]
    assert {route["dst"] for route in routes} == {*ROUTES, "fe80::/64"}, (
        "none but ours and the link-local one"
    )
    assert {route["scope"] for route in routes if "10." in route["dst"]} == {"link"}
    assert wire.show("route", "get", "10.0.0.5")[0]["dev"] == port.name
    assert wire.show("-6", "route", "get", "fd00::5")[0]["dev"] == port.name
    assert wire.show("route", "get", "10.0.0.7")[0]["dev"] == NIC
    assert wire.run("cat", f"/proc/sys/net/ipv6/conf/{port.name}/accept_ra") == "0\n"


def test_port_0_follows(wire: Wire, port: Vnic) -> None:
    wire.address()
    port.configure(COPIES, ROUTES)
    port.configure(COPIES, ROUTES)
    port.configure(["10.0.0.3/32"], ["10.0.0.6", "fd00::7"])
    assert sorted(port.addresses()) == ["10.0.0.3/32", LINK_LOCAL]
    assert port.routes() == {"10.0.0.6", "fd00::7"}
    port.configure(COPIES, ROUTES, mac=GREEN, mtu=9000)
    assert sorted(port.addresses()) == sorted([*COPIES, "fe80::ff:fe00:2/64"])
    assert port.routes() == set(ROUTES)
    port.configure(["10.78.0.1/24", "fd78::1/64"], [], mac=BLUE)
    assert sorted(port.addresses()) == ["10.78.0.1/24", "fd78::1/64", "fe80::ff:fe00:1/64"]
    assert wire.show("route", "get", "10.78.0.9")[0]["dev"] == port.name


def test_the_nic_keeps_its_own(wire: Wire) -> None:
    """Its addresses work when their copies were there, and have gone."""
    wire.address()

    def reaches() -> bool:
        told = [wire.run("ping", "-c1", "-W1", "10.0.0.2", where=wire.remote, check=False)]
        told.append(wire.run("ping", "-c1", "-W1", "fd00::2", where=wire.remote, check=False))
        return all(" 0% packet loss" in text for text in told)

    before = wire.show("addr", "show", NIC), wire.show("route"), wire.show("-6", "route")
    with closing(Vnic(wire)) as port:
        port.configure(COPIES, ROUTES)
        assert reaches()
        port.configure([], [])
        assert reaches()
        port.configure(COPIES, ROUTES)
    assert reaches()
    assert (wire.show("addr", "show", NIC), wire.show("route"), wire.show("-6", "route")) == before


def test_a_route_that_somebody_else_has(wire: Wire, port: Vnic) -> None:
    wire.address()
    port.configure([], ROUTES)
    for option, address in (("-4", "10.0.0.9"), ("-6", "fd00::9")):
        ip("-n", wire.here, option, "route", "add", address, "dev", NIC)
        with pytest.raises(Busy, match=f"{address} by way of {NIC}"):
            port.configure([], [*ROUTES, address])
        assert port.routes() == set(ROUTES)
        ip("-n", wire.here, option, "route", "del", address, "dev", NIC)
        port.configure([], [*ROUTES, address])
        port.configure([], ROUTES)


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
def test_an_address_of_the_machine_itself(wire: Wire, port: Vnic, address: str) -> None:
    wire.address()
    with pytest.raises(Busy, match=f"{address} is an address of this machine"):
        port.configure(COPIES, [address])


def test_routes_where_the_machine_has_none_at_all(port: Vnic) -> None:
    port.configure([], ROUTES)
    assert port.routes() == set(ROUTES)


def test_carrier(wire: Wire, port: Vnic) -> None:
    port.configure([], [])
    for on in (False, True):
        vnic.set_carrier(port.fd, on)
        assert facts(wire, port.name).carrier == on


def test_mtu(wire: Wire) -> None:
    wire.inside(lambda: vnic.set_mtu(NIC, 1400))
    assert facts(wire).mtu == 1400
    with pytest.raises(Invalid, match="can't have the MTU 7"):
        wire.inside(lambda: vnic.set_mtu(NIC, 7))
    with pytest.raises(NotFound):
        wire.inside(lambda: vnic.set_mtu("nope", 1400))


def defaults(wire: Wire, option: str) -> list[tuple[str, str, list[str]]]:
    return [
        (route["gateway"], route["dev"], route.get("flags", []))
        for route in wire.show(option, "route", "show", "default")
    ]


def test_default_routes(wire: Wire) -> None:
    wire.address()
    own = ["10.0.0.2/24", "fd00::2/64"]
    for gateways in (["10.0.0.9", "fd00::9"], ["10.0.0.1", "fd00::1"]):
        wire.inside(lambda gateways=gateways: vnic.add_default_routes(NIC, gateways, own))
        assert defaults(wire, "-4") == [(gateways[0], NIC, [])]
        assert defaults(wire, "-6") == [(gateways[1], NIC, [])]


def test_default_routes_beside_those_of_another_interface(wire: Wire) -> None:
    wire.address()
    other = ("-n", wire.here)
    ip(*other, "link", "add", "other", "type", "veth", "peer", "name", "far")
    ip(*other, "link", "set", "other", "up")
    ip(*other, "link", "set", "far", "up")
    ip(*other, "addr", "add", "10.9.0.2/24", "dev", "other")
    ip(*other, "addr", "add", "fd09::2/64", "dev", "other", "nodad")
    ip(*other, "route", "add", "default", "via", "10.9.0.1")
    ip(*other, "-6", "route", "add", "default", "via", "fd09::1")
    for _ in range(2):
        wire.inside(
            lambda: vnic.add_default_routes(NIC, ["10.0.0.1", "fd00::1"], ["10.0.0.2/24", "fd00::2/64"])
        )
        assert defaults(wire, "-4") == [("10.9.0.1", "other", []), ("10.0.0.1", NIC, [])]
        assert defaults(wire, "-6") == [("fd09::1", "other", []), ("fd00::1", NIC, [])]
    wire.inside(lambda: readdress.drop_default_routes(NIC, ["10.0.0.1", "fd00::1"]))
    assert defaults(wire, "-4") == [("10.9.0.1", "other", [])]
    assert defaults(wire, "-6") == [("fd09::1", "other", [])]


def test_default_routes_by_gateways_of_no_subnet(wire: Wire) -> None:
    for address in ("192.0.2.2/32", "2001:db8::2/128"):
        ip("-n", wire.here, "addr", "add", address, "dev", NIC)
    own = ["192.0.2.2/32", "2001:db8::2/128"]
    for gateways in (["192.0.2.1", "2001:db8::1"], ["192.0.2.1", "fe80::1"]):
        wire.inside(lambda gateways=gateways: vnic.add_default_routes(NIC, gateways, own))
        assert defaults(wire, "-4") == [(gateways[0], NIC, ["onlink"])]
        assert defaults(wire, "-6") == [(gateways[1], NIC, ["onlink"])]
    with pytest.raises(Invalid, match=r"gateway 10\.9\.9\.9"):
        wire.inside(lambda: vnic.add_default_routes(NIC, ["10.9.9.9"], ["10.9.9.8/24"]))


def test_a_tap_that_persists_is_not_taken(wire: Wire) -> None:
    """Somebody's vnicd0 that nobody serves at the moment."""
    os.close(wire.inside(lambda: tap.open_tap("vnicd0")))
    with closing(Vnic(wire)) as port:
        assert port.name == "vnicd1"


def test_a_tap_is_told_from_what_is_none(wire: Wire) -> None:
    """Without a call that its maker could answer late."""
    fd = wire.inside(lambda: tap.open_tap("tap0"))
    assert tap.is_tap(fd) and tap.is_alive(fd)
    ip("-n", wire.here, "link", "del", "tap0")
    assert tap.is_tap(fd) and not tap.is_alive(fd)
    with all_kinds() as kinds, open("/dev/net/tun", "rb") as bare:
        assert not any(tap.is_tap(each) for each in (*kinds, -1))
        assert tap.is_tap(bare.fileno()) and not tap.is_alive(bare.fileno())
    os.close(fd)
