"""A network's words: what passes is normal and comes back from its file, what does not is Invalid."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from vnicd.errors import Invalid
from vnicd.spec.fabric_file import parse, render
from vnicd.spec.network import NetworkSpec, choose_subnets, make_network, of_declared, overlap


@pytest.mark.parametrize(
    "spec",
    [
        make_network("web", "nat", "eth1", ["10.88.0.0/24", "fd88::/64"], ["10.88.0.9"], ["b=2", "a=1"]),
        make_network("lan", "bridge", "eth1", ["192.0.2.0/24"], ["192.0.2.1"]),
        make_network("lan", "bridge", "eth1"),
        make_network("a.b-c", "none", None, ["fd88::/64"], None, {"app": "shop"}),
        make_network("in", "internal", None, ["10.88.0.7/24"]),
        make_network("in", "internal"),
    ],
)
def test_a_network_is_what_its_file_says(spec: NetworkSpec) -> None:
    assert of_declared(spec.name, parse(render(spec.declared()), "file")) == spec


def test_the_machine_has_the_first_address_or_the_one_that_is_named() -> None:
    web = make_network("web", "nat", "eth1", ["10.88.0.0/24", "fd88::/64"], ["fd88::9"])
    assert web.gateways == ("10.88.0.1", "fd88::9")
    assert make_network("in", "internal", None, ["10.88.0.0/24"]).gateways == ()


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ({"name": "a b"}, "not a network's name"),
        ({"name": "default"}, "there always"),
        ({"name": "x" * 33}, "not a network's name"),
        ({"mode": "vxlan"}, "nat, bridge, none or internal"),
        ({"mode": "internal", "nic": "eth1"}, "uses no NIC"),
        ({"mode": "bridge"}, "needs a NIC"),
        ({"mode": "nat", "nic": "lo"}, "loopback"),
        ({"subnets": ["10.88.0.0/33"]}, "not a subnet"),
        ({"subnets": ["10.88.0.0/24"], "gateways": ["10.89.0.1"]}, "in no subnet"),
        ({"labels": ["app"]}, "KEY=VALUE"),
    ],
)
def test_wrong_words_are_refused(words: dict[str, object], word: str) -> None:
    with pytest.raises(Invalid) as refused:
        make_network(**{"name": "web", **words})  # type: ignore[arg-type]
    assert word in refused.value.line()


def test_subnets_that_others_have_are_found_and_not_chosen() -> None:
    others = {"a": [ip_network("10.79.0.0/23")], "b": [ip_network("fd79::/62")]}
    chosen = choose_subnets([each for networks in others.values() for each in networks])
    assert chosen == ("10.79.2.0/24", "fd79:0:0:4::/64")
    assert overlap(make_network("c", "nat", "eth1", chosen), others) is None
    assert overlap(make_network("c", "nat", "eth1", ["10.79.1.128/25"]), others) == (
        ip_network("10.79.1.128/25"),
        "a",
    )
    with pytest.raises(Invalid, match="in use"):
        choose_subnets([ip_network("10.0.0.0/8")])
