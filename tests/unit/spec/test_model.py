"""The checks of a partition's words: what passes is normal, what does not is Invalid, and nothing else happens."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vnicd.errors import Invalid, VnicdError
from vnicd.native import directory
from vnicd.spec.partition import (
    MAX_ADDRESSES,
    MTU_DEFAULT,
    RATE_MAX,
    RATE_MIN,
    PartitionSpec,
    check_ifname,
    check_mac,
    check_mtu,
    check_name,
    check_netns,
    default_mac,
    make_partition,
    parse_address,
)

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)

OPTIONS = ("addresses", "mac", "mtu", "ifname", "netns", "gateways", "rate", "rate_in")

SPECS = st.builds(
    make_partition,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True).filter(
        lambda name: name != "host"
    ),
    addresses=st.lists(st.sampled_from(["10.77.0.1/24", "10.77.1.9/31", "172.16.0.1/32"]), unique=True),
    mac=st.none() | st.sampled_from(["02:00:00:00:00:01", "0A-bb-CC-00-11-22"]),
    mtu=st.none() | st.integers(576, 65000),
    ifname=st.none() | st.sampled_from(["eth1", "a.100", "x" * 15]),
    netns=st.none() | st.sampled_from(["box", "/proc/77/ns/net"]),
    gateways=st.none() | st.lists(st.just("fe80::1"), max_size=1),
    rate=st.none() | st.integers(RATE_MIN, RATE_MAX),
    rate_in=st.none() | st.integers(RATE_MIN, RATE_MAX),
)


@pytest.mark.parametrize("name", ["a", "A1", "0", "a.b-c_d", "x" * 32, "all", "Host"])
def test_names_that_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "a\0", "é", "x" * 33, "host", None, 7, ["a"], "\ud800"],
)
def test_names_that_do_not_pass(name: object) -> None:
    with pytest.raises(Invalid):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("10.77.0.1/24", "10.77.0.1/24"),
        ("10.77.0.1/255.255.255.0", "10.77.0.1/24"),
        ("10.77.0.0/31", "10.77.0.0/31"),
        ("10.77.0.0/32", "10.77.0.0/32"),
        ("FD00:77:0::1/64", "fd00:77::1/64"),
        ("fe80::1/64", "fe80::1/64"),
        ("fd00::/64", "fd00::/64"),
    ],
)
def test_addresses_become_normal(text: str, normal: str) -> None:
    assert str(parse_address(text)) == normal
    assert str(parse_address(normal)) == normal


@pytest.mark.parametrize(
    "text",
    ["", "/", "/24", "10.77.0.1", "10.77.0.1/", "10.77.0.1/33", "10.77.0.1/-1", "10.77.0.1/24/24", "010.0.0.1/8",
     "10.77.0.0/24", "10.77.0.255/24", "127.0.0.1/8", "224.0.0.1/4", "255.255.255.255/32", "0.0.0.0/0", "::1/128",
     "::/0", "ff02::1/64", "fe80::1%eth0/64", "fd00::1/129", "a/b", "\uff110.0.0.1/24", "10.0.0.1/24\n", None, 7, []],
)  # fmt: skip
def test_addresses_that_do_not_pass(text: object) -> None:
    with pytest.raises(Invalid):
        parse_address(text)


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_any_ipv4_address_is_taken_or_refused_with_a_reason(number: int, prefix: int) -> None:
    text = f"{ipaddress.IPv4Address(number)}/{prefix}"
    try:
        assert str(parse_address(text)) == text
    except Invalid as error:
        assert text in error.message


@pytest.mark.parametrize(
    "mac", ["02:00:00:00:00:01", "02-00-00-00-00-01", "AA:BB:CC:DD:EE:FF", "00:00:00:00:00:01"]
)
def test_macs_that_pass_are_lower_case_with_colons(mac: str) -> None:
    assert check_mac(mac) == mac.lower().replace("-", ":")


@pytest.mark.parametrize(
    "mac", ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "0g:00:00:00:00:01", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00", "020000000001", "02:00:00:00:00:01\n", None, 2]
)  # fmt: skip
def test_macs_that_do_not_pass(mac: object) -> None:
    with pytest.raises(Invalid):
        check_mac(mac)


def test_mtu_bounds() -> None:
    assert [check_mtu(mtu) for mtu in (576, 1500, 65000)] == [576, 1500, 65000]
    assert check_mtu(1280, has_ipv6=True) == 1280
    wrong: list[Any] = [575, 65001, True, 1500.0, "1500", None, -1]
    for mtu in wrong:
        with pytest.raises(Invalid):
            check_mtu(mtu)
    with pytest.raises(Invalid, match="1280 to 65000 with IPv6"):
        check_mtu(1279, has_ipv6=True)


@pytest.mark.parametrize(
    "name", ["", "lo", "all", "default", ".", "..", "a/b", "a b", "a:1", "x" * 16, "vnic%d", None, ["eth1"]]
)
def test_interface_names_that_do_not_pass(name: object) -> None:
    with pytest.raises(Invalid):
        check_ifname(name)


def test_namespaces_are_paths_and_bare_names_stand_in_run_netns() -> None:
    assert check_netns("box") == "/run/netns/box"
    assert check_netns("/proc/77/ns/net") == "/proc/77/ns/net"
    for wrong in ("", ".", "..", "a/b", "./a", "a\0", "/" + "x" * 1024, None, 7):
        with pytest.raises(Invalid):
            check_netns(wrong)


def test_a_namespace_that_is_no_text_of_this_system_does_not_pass() -> None:
    """JSON can carry half a surrogate pair; as a path it can't be encoded, and opening it is a UnicodeError."""
    with pytest.raises(Invalid):
        check_netns("/run/netns/\ud800")


def test_too_many_and_double_addresses() -> None:
    many = [f"10.0.{n}.1/24" for n in range(MAX_ADDRESSES + 1)]
    assert len(make_partition("a", many[:-1]).addresses) == MAX_ADDRESSES
    cases: list[Any] = [
        many,
        ["10.0.0.1/24", "10.0.0.1/16"],
        ["fd00::1/64", "FD00:0::1/64"],
        "10.0.0.1/24",
        {},
        0,
    ]
    for wrong in cases:
        with pytest.raises(Invalid):
            make_partition("a", wrong)
    directory.Writer().put(1, directory.LIVE, "02:00:00:00:00:01", 1, 1500, many[:-1])


def test_an_ipv6_address_needs_an_mtu_for_it() -> None:
    assert make_partition("a", ["10.0.0.1/24"], mtu=576).mtu == 576
    with pytest.raises(Invalid, match="1280"):
        make_partition("a", ["fd00::1/64"], mtu=576)


@pytest.mark.parametrize(
    ("mtu", "addresses", "nic_mtu", "effective"),
    [
        (None, [], None, MTU_DEFAULT),
        (None, [], 9000, 9000),
        (None, [], 1400, 1400),
        (None, [], 65536, 65000),
        (None, [], 300, 576),
        (None, ["10.0.0.1/24"], 600, 600),
        (None, ["10.0.0.1/24", "fd00::1/64"], 600, 1280),
        (900, [], 9000, 900),
        (9000, [], 1500, 9000),
        (1500, [], None, 1500),
    ],
)
def test_an_mtu_that_nobody_asked_for_follows_the_nic(
    mtu: int | None, addresses: list[str], nic_mtu: int | None, effective: int
) -> None:
    assert make_partition("a", addresses, mtu=mtu).effective_mtu(nic_mtu) == effective


def test_what_was_not_said_has_a_default() -> None:
    spec = make_partition("a")
    assert spec == PartitionSpec("a", mtu=0, ifname="vnic0", gateways=(), rate=0)
    assert PartitionSpec.from_json({"name": "a"}) == spec
    assert (spec.netns_path, spec.owns_netns) == ("/run/netns/a", True)
    attached = make_partition("a", netns="/proc/77/ns/net")
    assert (attached.netns_path, attached.owns_netns) == ("/proc/77/ns/net", False)


@given(SPECS)
def test_a_spec_survives_json(spec: PartitionSpec) -> None:
    assert PartitionSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@settings(max_examples=200)
@given(st.fixed_dictionaries({"name": JSON}, optional=dict.fromkeys(OPTIONS, JSON)))
def test_any_words_make_a_spec_or_a_vnicd_error_of_one_line(words: dict[str, Any]) -> None:
    try:
        make_partition(**words)
    except VnicdError as error:
        assert "\n" not in error.line()


def test_owners_are_words_in_order() -> None:
    spec = make_partition("a", owner=["b=2", "a=x=y"])
    assert spec.owner == ("a=x=y", "b=2")
    assert spec.to_json()["owner"] == {"a": "x=y", "b": "2"}
    assert PartitionSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "owner",
    [
        "a=b",
        ["a"],
        ["=b"],
        ["a b=c"],
        ["a=\n"],
        ["a=1", "a=2"],
        [7],
        ["a=" + "x" * 256],
        [f"k{n}=" for n in range(17)],
    ],
)
def test_what_names_no_owner_is_refused(owner: object) -> None:
    with pytest.raises(Invalid, match="owner"):
        make_partition("a", owner=owner)


def test_default_macs_differ_by_machine() -> None:
    macs = {default_mac("/run/vnicd", "web", seed) for seed in ("", "1", "2")}
    assert len(macs) == 3


def test_default_macs_are_stable_local_and_differ() -> None:
    macs = {default_mac(fabric, name) for fabric in ("/run/vnicd", "/run/b") for name in map(str, range(200))}
    assert len(macs) == 400
    assert all(check_mac(mac) == mac and mac.startswith("02:") for mac in macs)
    assert default_mac("/run/vnicd", "7") == default_mac("/run/vnicd", "7")
