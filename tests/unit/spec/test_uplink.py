"""An uplink's words: what passes is normal, what does not is Invalid; and the addresses that nat mode gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.spec.test_model import JSON
from vnicd.errors import Exists, Invalid, NotFound, VnicdError
from vnicd.spec.pool import without_address
from vnicd.spec.uplink import (
    DEFAULT_SUBNETS,
    MAX_PUBLISHED,
    Publish,
    UplinkSpec,
    add_published,
    check_nic,
    make_uplink,
    parse_publish,
    remove_published,
)

PUBLISHED = st.builds(
    Publish,
    port=st.integers(1, 65535),
    name=st.sampled_from(["web", "a.b-c_d", "7"]),
    target=st.integers(1, 65535),
    protocol=st.sampled_from(["tcp", "udp"]),
    address=st.sampled_from(["", "192.0.2.1", "2001:db8::1"]),
)


def nat(*subnets: str, publish: list[str] | None = None) -> UplinkSpec:
    return make_uplink("eth1", "nat", subnets=list(subnets), publish=publish)


def test_what_was_not_said_has_a_default() -> None:
    spec = make_uplink("eth1")
    assert spec == UplinkSpec("eth1", "bridge", (), (), False)
    assert not spec.gateways
    assert nat().subnets == DEFAULT_SUBNETS


@pytest.mark.parametrize(("mode", "guards"), [("bridge", False), ("shared", True), ("nat", True)])
def test_only_in_bridge_mode_a_partition_may_send_from_any_address(mode: str, guards: bool) -> None:
    assert make_uplink("eth1", mode).guards_addresses is guards


@pytest.mark.parametrize("name", ["eth1", "e", "x" * 15, "br-lan", "eth0.100", "wlp3s0", "ipv6tnl!", "é" * 7])
def test_nics_that_pass(name: str) -> None:
    assert check_nic(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "lo", ".", "..", "a/b", "a b", "a:1", "x" * 16, "é" * 8, "a\n", "a\0", "\ud800", None, 7, ["eth1"]],
)
def test_nics_that_do_not_pass(name: object) -> None:
    with pytest.raises(Invalid):
        check_nic(name)


@pytest.mark.parametrize(
    ("text", "gateway"),
    [
        ("10.9.0.0/24", "10.9.0.1/24"),
        ("10.9.0.7/24", "10.9.0.7/24"),
        ("10.9.0.0/255.255.255.0", "10.9.0.1/24"),
        ("10.0.0.0/8", "10.0.0.1/8"),
        ("10.9.0.0/30", "10.9.0.1/30"),
        ("fd00:9::/64", "fd00:9::1/64"),
        ("FD00:9:0::7/64", "fd00:9::7/64"),
        ("fd00:9::/126", "fd00:9::1/126"),
    ],
)
def test_a_subnet_is_the_gateways_address(text: str, gateway: str) -> None:
    assert nat(text).subnets == (gateway,)
    assert nat(gateway).subnets == (gateway,)


@pytest.mark.parametrize(
    "text",
    ["", "10.9.0.0", "10.9.0.0/31", "10.9.0.0/7", "10.9.0.255/24", "fd00::/127", "224.0.0.0/8", "127.0.0.0/8",
     "fe80::/64", "::1/8", "fd00::1%eth0/64", "::ffff:10.9.0.0/120", "ff02::/64", "169.254.0.0/16", "net/24", None,
     7, ["10.9.0.0/24"]],
)  # fmt: skip
def test_subnets_that_do_not_pass(text: object) -> None:
    with pytest.raises(Invalid):
        make_uplink("eth1", "nat", subnets=[text])


def test_one_subnet_of_a_family_and_ipv4_first() -> None:
    assert nat("fd00:9::/64", "10.9.0.0/24").subnets == ("10.9.0.1/24", "fd00:9::1/64")
    with pytest.raises(Invalid, match="another"):
        nat("10.9.0.0/24", "10.8.0.0/24")


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("8080:web:80", Publish(8080, "web", 80)),
        ("8080:web:80/tcp", Publish(8080, "web", 80)),
        ("53:dns:53/udp", Publish(53, "dns", 53, "udp")),
        ("192.0.2.1:8080:web:80", Publish(8080, "web", 80, address="192.0.2.1")),
        ("[2001:DB8:0::1]:8080:web:80/udp", Publish(8080, "web", 80, "udp", "2001:db8::1")),
        ("8080:7:80", Publish(8080, "7", 80)),
    ],
)
def test_ports_to_publish(text: str, published: Publish) -> None:
    assert parse_publish(text) == published


@given(PUBLISHED)
def test_a_published_port_reads_as_it_is_written(published: Publish) -> None:
    assert parse_publish(str(published)) == published


@pytest.mark.parametrize(
    "text",
    ["", "8080", "web:80", "8080:web", "8080:web:80/sctp", "8080:host:80", "0:web:80", "8080:web:0", "65536:web:80",
     "8080:web:65536", "-1:web:80", "8080:we b:80", "\u0668080:web:80", "9" * 5000 + ":web:80", "8080:web:80\n",
     "2001:db8::1:8080:web:80", "[2001:db8::1:8080:web:80", "1.2.3:8080:web:80", "[::g]:8080:web:80",
     "0.0.0.0:80:web:80", "[::]:80:web:80", "[::1]:80:web:80", "224.0.0.1:80:web:80",
     "255.255.255.255:80:web:80", None, 8080, ["8080:web:80"]],
)  # fmt: skip
def test_ports_that_cannot_be_published(text: object) -> None:
    with pytest.raises(Invalid):
        parse_publish(text)


HAVE = tuple(
    map(parse_publish, ("8080:web:80", "53:dns:53/udp", "192.0.2.1:443:web:443", "192.0.2.2:443:db:1"))
)


def test_the_machine_itself_without_a_nic() -> None:
    spec = make_uplink(None, "none", addresses=["FD77::FE/64", "10.77.0.254/24"])
    assert (spec.nic, spec.addresses) == ("", ("fd77::fe/64", "10.77.0.254/24"))
    assert (spec.title, spec.is_like_nic, spec.guards_addresses, spec.gateways) == ("none", False, False, ())
    assert [str(each) for each in spec.own_addresses] == list(spec.addresses)
    assert UplinkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "given",
    [
        {"nic": "eth1", "addresses": ["10.77.0.1/24"]},
        {"addresses": []},
        {"addresses": "10.77.0.1/24"},
        {"addresses": ["10.77.0.0/24"]},
        {"addresses": ["127.0.0.1/8"]},
        {"addresses": ["10.77.0.1/24", "10.77.0.1/16"]},
        {"addresses": [f"10.77.0.{n}/24" for n in range(1, 18)]},
        {"addresses": ["10.77.0.1/24"], "subnets": ["10.9.0.0/24"]},
        {"addresses": ["10.77.0.1/24"], "publish": ["80:web:80"]},
        {"addresses": ["10.77.0.1/24"], "propagate_link": True},
        {"mode": "bridge", "nic": "eth1", "addresses": ["10.77.0.1/24"]},
    ],
)
def test_words_that_do_not_suit_mode_none(given: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        make_uplink(**{"mode": "none", **given})


def test_partitions_without_an_address_of_the_subnets() -> None:
    spec = nat("10.9.0.0/29", "fd09::/64")
    partitions = {"in": ("10.9.0.2/29",), "bare": (), "out": ("192.0.2.1/24",), "six": ("fd09::9/64",)}
    assert without_address(spec, partitions) == {
        "bare": ("10.9.0.3/29", "fd09::2/64"),
        "out": ("10.9.0.4/29", "fd09::3/64"),
    }
    full = {str(n): (f"10.9.0.{n}/29",) for n in range(2, 7)}
    assert without_address(spec, {**full, "late": ()}) == {"late": ()}
    assert without_address(make_uplink("eth1"), partitions) == {}


def test_ports_are_added_behind_the_others() -> None:
    new = ("53:dns:53", "127.0.0.1:5432:db:5432")
    assert [str(each) for each in add_published(HAVE, new)] == [*map(str, HAVE), *new]


@pytest.mark.parametrize(
    "words", [["8080:web:80"], ["127.0.0.1:8080:db:1"], ["443:web:1"], ["9:a:9", "9:b:9"]]
)
def test_a_port_that_is_published_already(words: list[str]) -> None:
    with pytest.raises(Exists, match="is published already, as "):
        add_published(HAVE, words)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["8080"], [1, 2, 3]),
        (["8080:web:80/tcp", "53/udp"], [2, 3]),
        (["192.0.2.2:443"], [0, 1, 2]),
    ],
)
def test_ports_are_removed_by_what_names_them(words: list[str], left: list[int]) -> None:
    assert remove_published(HAVE, words) == tuple(HAVE[number] for number in left)


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("53", NotFound),
        ("192.0.2.1:8080", NotFound),
        ("8080:web:81", NotFound),
        ("443", Invalid),
        ("web", Invalid),
        (8080, Invalid),
    ],
)
def test_ports_that_cannot_be_removed(word: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        remove_published(HAVE, [word])


@pytest.mark.parametrize(
    ("one", "other", "twice"),
    [
        ("8080:web:80", "8080:db:81", True),
        ("192.0.2.1:8080:web:80", "192.0.2.1:8080:db:80", True),
        ("8080:web:80", "192.0.2.1:8080:db:80", True),
        ("192.0.2.1:8080:web:80", "8080:db:80", True),
        ("192.0.2.1:8080:web:80", "192.0.2.2:8080:db:80", False),
        ("8080:web:80", "8080:web:80/udp", False),
        ("8080:web:80", "8081:web:80", False),
    ],
)
def test_a_port_leads_to_one_partition(one: str, other: str, twice: bool) -> None:
    if twice:
        with pytest.raises(Invalid, match=r"8080/tcp is published twice"):
            nat(publish=[one, other])
    else:
        assert len(nat(publish=[one, other]).publish) == 2


def test_so_many_ports_can_be_published() -> None:
    words = [f"{port}:web:80" for port in range(1, MAX_PUBLISHED + 2)]
    assert len(nat(publish=words[:-1]).publish) == MAX_PUBLISHED
    with pytest.raises(Invalid, match=f"at most {MAX_PUBLISHED}"):
        nat(publish=words)


@pytest.mark.parametrize(
    "words",
    [
        {"mode": "bridged"},
        {"mode": ["nat"]},
        {"mode": "shared", "subnets": ["10.9.0.0/24"]},
        {"publish": ["8080:web:80"]},
        {"mode": "nat", "subnets": "10.9.0.0/24"},
        {"mode": "nat", "publish": {"8080": "web"}},
        {"propagate_link": 1},
    ],
)
def test_words_that_make_no_uplink(words: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        make_uplink("eth1", **words)


@given(
    st.sampled_from(["bridge", "shared", "nat"]),
    st.lists(PUBLISHED, max_size=3, unique_by=lambda each: each.port),
    st.booleans(),
)
def test_a_spec_survives_json(mode: str, published: list[Publish], follows: bool) -> None:
    words = [str(each) for each in published] if mode == "nat" else []
    spec = make_uplink("eth1", mode, publish=words, propagate_link=follows)
    assert UplinkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert len(spec.publish) == len(words)


def test_a_state_of_an_earlier_version_can_be_read() -> None:
    spec = make_uplink("eth1", "nat")
    assert UplinkSpec.from_json({**spec.to_json(), "backend": "packet"}) == spec


@settings(max_examples=200)
@given(JSON, st.fixed_dictionaries({}, optional=dict.fromkeys(("propagate_link",), JSON)), JSON, JSON)
def test_any_words_make_a_spec_or_an_error_of_one_line(
    nic: Any, words: dict[str, Any], subnets: Any, publish: Any
) -> None:
    try:
        make_uplink(nic, "nat", subnets=subnets, publish=publish, **words)
    except VnicdError as error:
        assert "\n" not in error.line()
