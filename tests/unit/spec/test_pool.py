"""The addresses that a network gives: the lowest that are free, once each, with the gateways that they reach."""

from __future__ import annotations

import pytest

from tests.unit.spec.test_uplink import nat
from vnicd.config import Options
from vnicd.errors import Invalid
from vnicd.spec.partition import make_partition, parse_address
from vnicd.spec.pool import Pool, check_gateways, check_subnets, pool_of
from vnicd.spec.uplink import UplinkSpec, make_uplink


def pool(uplink: UplinkSpec | None, *subnets: str, gateways: tuple[str, ...] = ()) -> Pool:
    return pool_of(uplink, Options(subnets=subnets, gateways=gateways))


def test_free_addresses_are_the_lowest_that_nobody_has() -> None:
    spec = nat("10.9.0.0/24", "fd00:9::/64")
    assert pool(spec).free([]) == ("10.9.0.2/24", "fd00:9::2/64")
    taken = ["10.9.0.2/24", "10.9.0.4", "fd00:9::2", "192.0.2.9/24"]
    assert pool(spec).free(taken) == ("10.9.0.3/24", "fd00:9::3/64")
    assert pool(nat("10.9.0.2/24")).free([]) == ("10.9.0.1/24",)


@pytest.mark.parametrize(
    "subnet", ["10.9.0.0/28", "10.9.0.7/28", "10.9.0.0/30", "fd00:9::/126", "fd00:9::5/124"]
)
def test_all_addresses_of_a_subnet_are_given_once(subnet: str) -> None:
    spec = nat(subnet)
    (gateway,) = spec.gateways
    # The host counts neither the network's own address nor, in IPv4, the broadcast address.
    room = gateway.network.num_addresses - (2 if gateway.version == 4 else 1) - 1
    given_out: list[str] = []
    for _ in range(room):
        given_out += pool(spec).free(given_out)
    ips = {parse_address(text).ip for text in given_out}
    assert len(ips) == room
    assert gateway.ip not in ips
    assert ips < set(gateway.network)
    with pytest.raises(Invalid, match="no free address"):
        pool(spec).free(given_out)


def test_given_addresses_reach_their_gateways() -> None:
    spec = nat()
    addresses = pool(spec).free([])
    gateways = pool(spec).routes(addresses)
    assert gateways == ("10.78.0.1", "fd78::1")
    assert make_partition("a", addresses, gateways=gateways).gateways == gateways


def test_the_host_is_the_gateway_of_its_subnets_only() -> None:
    assert pool(nat()).routes(["10.78.0.9/24"]) == ("10.78.0.1",)
    assert pool(nat()).routes(["192.0.2.9/24", "fd78::9/64"]) == ("fd78::1",)
    assert pool(nat()).routes([]) == ()
    assert pool(make_uplink("eth1")).routes(["10.78.0.9/24"]) == ()


def test_in_every_mode_a_network_with_subnets_gives_addresses() -> None:
    for uplink in (None, make_uplink("eth1"), make_uplink("eth1", "shared")):
        found = pool(uplink, "10.9.0.0/24", "fd00:9::/64", gateways=("10.9.0.1",))
        addresses = found.free(["fd00:9::1/64"])
        assert addresses == ("10.9.0.2/24", "fd00:9::2/64")
        assert found.routes(addresses) == ("10.9.0.1",)
    assert pool(None).free([]) == ()


def test_the_machine_has_its_address_but_is_no_way_out_without_a_nic() -> None:
    found = pool(make_uplink(None, "none", addresses=["10.9.0.1/24"]), "10.9.0.0/24")
    assert found.free([]) == ("10.9.0.2/24",)
    assert found.routes(["10.9.0.2/24"]) == ()


def test_the_subnets_of_nat_mode_go_before_those_of_the_network() -> None:
    assert pool(nat("10.8.0.0/24"), "10.9.0.0/24").free([]) == ("10.8.0.2/24",)


@pytest.mark.parametrize(
    ("subnets", "gateways", "word"),
    [
        (["10.9.0.0/24", "10.8.0.0/24"], [], "one IPv4 and one IPv6"),
        (["10.9.0.0"], [], "not a subnet"),
        (["127.0.0.0/24"], [], "can't have"),
        ("10.9.0.0/24", [], "list"),
        (["10.9.0.0/24"], ["10.8.0.1"], "in no subnet"),
        (["10.9.0.0/24"], ["10.9.0.1/24"], "without prefix"),
        (["10.9.0.0/24"], ["10.9.0.255"], "broadcast"),
        (["10.9.0.0/24"], ["10.9.0.1", "10.9.0.2"], "another"),
        (["10.9.0.0/24"], [7], "gateway"),
    ],
)
def test_wrong_words_are_refused_by_name(subnets: object, gateways: object, word: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_gateways(gateways, check_subnets(subnets))
    assert word in refused.value.line()


def test_subnets_become_normal() -> None:
    assert check_subnets(["fd00:9::7/64", "10.9.0.1/24"]) == ("10.9.0.0/24", "fd00:9::/64")
