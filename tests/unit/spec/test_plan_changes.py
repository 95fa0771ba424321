"""From one fabric to another: the fewest changes, which a tiny interpreter carries out, and then none are left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from tests.framework.declared import fabrics
from vnicd.config import Options
from vnicd.errors import Invalid
from vnicd.spec.fabric_file import PARTITION_KEYS, Declared, parse, render
from vnicd.spec.partition import PartitionSpec, make_partition
from vnicd.spec.plan import (
    FIXED_FIELDS,
    LIVE_FIELDS,
    OWNED_FIELDS,
    Change,
    altered,
    changes,
    left_empty,
    settle,
)
from vnicd.spec.pool import pool_of
from vnicd.spec.uplink import UplinkSpec


def carried_out(desired: Declared, actual: Declared) -> Declared:
    """The fabric after all changes; options wait for a restart."""
    partitions, uplink = dict(actual.partitions), actual.uplink
    for change in changes(desired, actual):
        if change.kind == "uplink":
            uplink = desired.uplink
        elif change.op == "remove":
            del partitions[change.name]
        elif change.partition is not None:
            partitions[change.name] = change.partition
    return running(replace(actual, partitions=partitions, uplink=uplink))


def running(declared: Declared) -> Declared:
    """The fabric as a hosting daemon tells it, which knows only what partitions have and not what they were to have."""
    return replace(
        declared, empty=left_empty(pool_of(declared.uplink, declared.options), declared.partitions)
    )


def without_options(found: list[Change]) -> list[Change]:
    return [change for change in found if change.kind != "option"]


@given(fabrics(), fabrics())
def test_once_is_enough(desired: Declared, actual: Declared) -> None:
    result = carried_out(desired, running(actual))
    assert not without_options(changes(desired, result))
    assert result.uplink == desired.uplink
    wanted = settle(desired, running(actual))
    assert set(result.partitions) == set(desired.partitions)
    for name, spec in result.partitions.items():
        assert set(spec.addresses) == set(wanted[name].addresses)
        assert replace(spec, addresses=()) == replace(wanted[name], addresses=())


@given(fabrics())
def test_what_is_exported_changes_nothing(actual: Declared) -> None:
    actual = running(actual)
    assert changes(parse(render(actual), "exported"), actual) == []


@given(fabrics(), fabrics())
def test_what_is_the_same_is_not_touched(desired: Declared, actual: Declared) -> None:
    actual = running(actual)
    wanted = settle(desired, actual)
    for change in changes(desired, actual):
        if change.kind == "partition" and change.op in ("change", "replace"):
            assert change.fields
            assert wanted[change.name] != actual.partitions[change.name]
        for old, new in change.fields.values():
            assert old != new
    named = [(change.kind, change.name) for change in changes(desired, actual)]
    assert len(named) == len(set(named))


@given(fabrics(), fabrics())
def test_no_two_partitions_get_one_address(desired: Declared, actual: Declared) -> None:
    given_ = [
        text.split("/")[0] for spec in settle(desired, running(actual)).values() for text in spec.addresses
    ]
    assert len(given_) == len(set(given_))


ORDER = [("remove", "partition"), ("change", "uplink"), ("replace", "partition"), ("change", "partition"),
         ("add", "partition"), ("change", "option")]  # fmt: skip


def test_the_order() -> None:
    actual = parse("[uplink]\nnic='a'\n[partitions]\nold={}\nmac={}\nrate={}", "a")
    desired = parse(
        "poll_us=1\n[uplink]\nnic='b'\n[partitions]\nnew={}\nmac={mac='02:00:00:00:00:01'}\nrate={rate='1gbit'}",
        "b",
    )
    found = changes(desired, actual)
    assert [(change.op, change.kind) for change in found] == ORDER
    assert [change.name for change in found] == ["old", "b", "mac", "rate", "new", "poll_us"]
    assert [change.fields for change in found] == [
        {},
        {"nic": ("a", "b")},
        {"mac": (None, "02:00:00:00:00:01")},
        {"rate": (None, 10**9)},
        {},
        {"poll_us": (Options().poll_us, 1)},
    ]


def only(desired: str, actual: Declared) -> Change:
    (change,) = changes(parse(desired, "desired"), actual)
    return change


@pytest.mark.parametrize(
    ("words", "op"),
    [
        ("addresses = ['10.0.0.2/24']", "change"),
        ("addresses = ['10.0.0.1/24', '10.0.0.2/24']", "change"),
        ("addresses = ['10.0.0.1/16']", "change"),
        ("addresses = []", "change"),
        ("addresses = ['10.0.0.1/24']\ngateways = ['10.0.0.9']", "change"),
        ("addresses = ['10.0.0.1/24']\nmtu = 1400", "change"),
        ("addresses = ['10.0.0.1/24']\nrate = '1gbit'", "change"),
        ("addresses = ['10.0.0.1/24']\nmac = '02:00:00:00:00:01'", "replace"),
        ("addresses = ['10.0.0.1/24']\nifname = 'eth0'", "replace"),
        ("addresses = ['10.0.0.1/24']\nnetns = 'box'\nrate = '1gbit'", "replace"),
    ],
)
def test_what_can_change_while_a_partition_goes_on(words: str, op: str) -> None:
    actual = parse("[partitions.web]\naddresses = ['10.0.0.1/24']", "a")
    assert only(f"[partitions.web]\n{words}", actual).op == op


def test_the_order_of_addresses_and_published_ports_says_nothing() -> None:
    text = "[uplink]\nnic='a'\nmode='nat'\npublish=[{0}]\n[partitions.w]\naddresses=[{1}]\n"
    ports, addresses = ["'80:w:80'", "'81:w:81'"], ["'10.78.0.5/24'", "'10.78.0.6/24'"]
    first = text.format(",".join(ports), ",".join(addresses))
    second = text.format(",".join(ports[::-1]), ",".join(addresses[::-1]))
    actual = carried_out(parse(first, "a"), Declared())
    assert changes(parse(second, "b"), actual) == []


def test_an_uplink_comes_and_goes() -> None:
    there = parse("[uplink]\nnic='eth1'\npropagate_link=true", "a")
    (added,), (removed,) = changes(there, Declared()), changes(Declared(), there)
    assert (added.op, added.kind, added.name) == ("add", "uplink", "eth1")
    assert added.fields == {"nic": (None, "eth1"), "propagate_link": (None, True)}
    assert (removed.op, removed.kind, removed.name, removed.fields) == ("remove", "uplink", "eth1", {})


NAT = "[uplink]\nnic='eth1'\nmode='nat'\n"
PAIR = NAT + "[partitions]\nweb={}\ndb={}"


def addresses(declared: Declared) -> dict[str, tuple[str, ...]]:
    return {name: spec.addresses for name, spec in declared.partitions.items()}


def test_nat_gives_addresses_and_gateways_and_keeps_to_them() -> None:
    first = carried_out(parse(PAIR, "a"), Declared())
    assert addresses(first) == {
        "web": ("10.78.0.2/24", "fd78::2/64"),
        "db": ("10.78.0.3/24", "fd78::3/64"),
    }
    assert first.partitions["web"].gateways == ("10.78.0.1", "fd78::1")
    turned = parse(NAT + "[partitions]\ndb={}\nweb={}", "b")
    assert changes(turned, first) == []
    more = carried_out(parse(NAT + "[partitions]\nmail={}\ndb={}", "c"), first)
    assert addresses(more) == {"db": first.partitions["db"].addresses, "mail": ("10.78.0.2/24", "fd78::2/64")}


def test_an_address_that_is_declared_elsewhere_is_not_kept() -> None:
    first = carried_out(parse(PAIR, "a"), Declared())
    desired = parse(NAT + "[partitions]\nweb={}\ndb={}\nnew={addresses=['10.78.0.2/24']}", "b")
    result = carried_out(desired, first)
    assert addresses(result) == {
        "web": ("10.78.0.4/24", "fd78::2/64"),
        "db": ("10.78.0.3/24", "fd78::3/64"),
        "new": ("10.78.0.2/24",),
    }


def test_another_subnet_means_other_addresses() -> None:
    first = carried_out(parse(PAIR, "a"), Declared())
    result = carried_out(parse(PAIR.replace("mode", "subnets=['10.9.0.0/24']\nmode"), "b"), first)
    assert addresses(result) == {"web": ("10.9.0.2/24",), "db": ("10.9.0.3/24",)}
    assert result.partitions["web"].gateways == ("10.9.0.1",)
    bridge = carried_out(parse(PAIR.replace("nat", "bridge"), "c"), result)
    assert addresses(bridge) == {"web": (), "db": ()}
    assert bridge.partitions["web"].gateways == ()


def test_a_partition_without_addresses_in_nat_mode() -> None:
    """Where it was there before the uplink it has none; the export says so, and a file that leaves it open does not."""
    uplink = UplinkSpec("eth1", "nat", subnets=("10.78.0.1/24",))
    actual = running(Declared(uplink=uplink, partitions=parse("[partitions.web]", "a").partitions))
    assert "addresses = []" in render(actual)
    change = only(NAT + "subnets=['10.78.0.1/24']\n[partitions.web]", actual)
    assert change.fields == {"addresses": ([], ["10.78.0.2/24"]), "gateways": ([], ["10.78.0.1"])}


def test_a_subnet_that_is_used_up_leaves_the_last_one_open() -> None:
    desired = parse(NAT + "subnets=['10.78.0.1/30']\n[partitions]\nweb={}\ndb={}", "a")
    assert addresses(carried_out(desired, Declared())) == {"web": ("10.78.0.2/30",), "db": ()}


def test_each_property_of_a_partition_can_be_declared_and_changed() -> None:
    """One that the planner does not compare would be applied to new partitions alone.

    No file declares an owner or a handover.
    """
    properties = set(PartitionSpec("web").to_json()) - {"name", "owner", "handover", *OWNED_FIELDS}
    assert properties == {*LIVE_FIELDS, *FIXED_FIELDS}
    assert properties == set(PARTITION_KEYS) - {"publish"}  # published ports are the uplink's


WHOLE = make_partition(
    "a",
    ["10.0.0.1/24", "fd00::1/64"],
    mtu=9000,
    gateways=["10.0.0.9"],
    rate=10**8,
    rate_in=10**7,
    owner=["x=1"],
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, {}),
        ({"rate": "1gbit"}, {"rate": 10**9}),
        ({"rate": 0, "rate_in": "0"}, {"rate": 0, "rate_in": 0}),
        ({"rate": None, "mtu": None}, {"rate": 0, "mtu": 0}),
        ({"addresses": ["10.0.0.2/24"]}, {"addresses": ("10.0.0.2/24",)}),
        ({"addresses": [], "gateways": []}, {"addresses": (), "gateways": ()}),
        ({"gateways": None}, {"gateways": ()}),
    ],
)
def test_what_is_not_named_stays(words: dict[str, object], expected: dict[str, object]) -> None:
    assert altered(WHOLE, words) == replace(WHOLE, **expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"mac": "02:00:00:00:00:01"}, "the MAC of a partition that runs can't be changed; make it anew"),
        ({"mac": None}, "the MAC of"),
        ({"netns": "box"}, "the namespace of"),
        ({"ifname": "eth0"}, "the interface name of"),
        ({"owner": {}}, "the owner of"),
        ({"colour": "red"}, "a partition has no colour"),
        ({"addresses": ["10.1.0.1/24"]}, "none with --no-gateway"),
        ({"addresses": [], "gateways": ["10.0.0.9"]}, "give it an address there with: --address"),
        ({"addresses": ["10.1.0.1/33"]}, "is not an IPv4 or IPv6 address"),
        ({"mtu": 700}, "1280 to 65000 with IPv6 addresses"),
        ({"mtu": "1500"}, "the MTU must be a number, not '1500'"),
        ({"rate": "fast"}, "is not a rate"),
    ],
)
def test_what_cannot_be_changed_so(words: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid) as caught:
        altered(WHOLE, words)
    assert says in caught.value.line()
