"""The nftables scripts of an uplink; that nft takes them is tested with the kernel."""

from __future__ import annotations

import pytest

from vnicd.errors import Invalid
from vnicd.packet.nft_rules import Datagrams, bypass, datagrams, fence, needs_loopback, removal, ruleset
from vnicd.spec.uplink import UplinkSpec, make_uplink

PARTITIONS = {
    "web": ("10.78.0.5/24", "fd78::5/64"),
    "old": ("10.78.0.6/24",),
    "far": ("192.0.2.7/24", "10.78.0.7/24"),
}


def nat(*publish: str, subnets: tuple[str, ...] = ("10.78.0.0/24", "fd78::/64")) -> UplinkSpec:
    return make_uplink("eth1", "nat", subnets=subnets, publish=publish)


def chain(script: str, name: str) -> list[str]:
    """The rules of a chain, without the line that hooks it in."""
    body = script.split(f"\tchain {name} {{\n")[1].split("\t}", maxsplit=1)[0]
    return [line.strip() for line in body.splitlines() if not line.strip().startswith("type")]


def rules(spec: UplinkSpec, name: str) -> list[str]:
    return chain(ruleset("vnicd", "vnicd0", "eth1", spec, PARTITIONS), name)


def test_the_table_is_made_anew_in_one_transaction() -> None:
    lines = ruleset("vnicd-7", "vnicd0", "eth1", nat(), {}).splitlines()
    assert lines[:3] == ["add table inet vnicd-7", "delete table inet vnicd-7", "table inet vnicd-7 {"]
    assert lines[-1] == "}"


def test_masquerade_for_each_subnet() -> None:
    assert rules(nat(), "postrouting") == [
        'oifname "eth1" ip saddr 10.78.0.0/24 masquerade',
        'oifname "vnicd0" ip saddr 10.78.0.0/24 ct status dnat masquerade',
        'oifname "vnicd0" ip saddr 127.0.0.0/8 ct status dnat masquerade',
        'oifname "eth1" ip6 saddr fd78::/64 masquerade',
        'oifname "vnicd0" ip6 saddr fd78::/64 ct status dnat masquerade',
    ]


def test_forwarding() -> None:
    assert rules(nat(subnets=("10.1.0.1/16",)), "forward") == [
        'iifname "vnicd0" ip saddr != 10.1.0.0/16 drop',
        'iifname "vnicd0" meta nfproto ipv6 drop',
        "ct state established,related accept",
        "ct status dnat accept",
        'oifname "vnicd0" iifname != "vnicd0" drop',
        'iifname "vnicd0" oifname != { "eth1", "vnicd0" } drop',
        'iifname "eth1" oifname != "vnicd0" drop',
    ]


def test_a_port_is_published_in_each_family_of_the_partition() -> None:
    assert rules(nat("8080:web:80"), "published") == [
        "meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.78.0.5:80",
        "meta nfproto ipv6 fib daddr type local tcp dport 8080 dnat ip6 to [fd78::5]:80",
    ]
    assert rules(nat("53:old:5353/udp"), "published") == [
        "meta nfproto ipv4 fib daddr type local udp dport 53 dnat ip to 10.78.0.6:5353"
    ]


def test_loopback_addresses_are_for_the_machine_itself() -> None:
    """Partitions can't reach them, whatever else the rules say."""
    spec = nat("8080:web:80")
    assert rules(spec, "output") == ["meta nfproto ipv4 jump published", "ip6 daddr != ::1 jump published"]
    assert rules(spec, "prerouting") == [
        "ip daddr != 127.0.0.0/8 jump published",
        "ip6 daddr != ::1 jump published",
    ]
    assert rules(spec, "loopback") == [
        'iifname "vnicd0" ip daddr 127.0.0.0/8 drop',
        'iifname "vnicd0" ip saddr 127.0.0.0/8 drop',
    ]
    assert needs_loopback(spec, PARTITIONS)
    for other in ("10.0.0.2:8080:web:80", "8080:nobody:80"):
        assert not needs_loopback(nat(other), PARTITIONS)


def test_datagrams() -> None:
    assert datagrams(nat("53:web:53/udp", "53:web:53", "10.0.0.2:54:old:54/udp"), PARTITIONS) == {
        Datagrams("", 53, "10.78.0.5:53"),
        Datagrams("", 53, "[fd78::5]:53"),
        Datagrams("10.0.0.2", 54, "10.78.0.6:54"),
    }


def test_a_port_is_published_on_one_address() -> None:
    assert rules(nat("10.0.0.2:8080:web:80", "[2001:db8::2]:81:web:80"), "published") == [
        "ip daddr 10.0.0.2 fib daddr type local tcp dport 8080 dnat ip to 10.78.0.5:80",
        "ip6 daddr 2001:db8::2 fib daddr type local tcp dport 81 dnat ip6 to [fd78::5]:80",
    ]


@pytest.mark.parametrize("publish", ["8080:nobody:80", "[fd00::2]:80:old:80"])
def test_what_cannot_be_published_has_no_rule(publish: str) -> None:
    assert rules(nat(publish), "published") == []


def test_an_address_of_the_subnet_is_preferred() -> None:
    (rule,) = rules(nat("80:far:80"), "published")
    assert rule.endswith("to 10.78.0.7:80")


def test_bypass() -> None:
    script = bypass("vnicd", "eth1", ["10.0.0.6/24", "10.0.0.5", "fd00::5", "10.0.0.5"])
    assert script.startswith("add table netdev vnicd\ndelete table netdev vnicd\ntable netdev vnicd {\n")
    assert 'hook ingress device "eth1"' in script
    assert chain(script, "ingress") == [
        "ip daddr { 10.0.0.5, 10.0.0.6 } drop",
        "ip6 daddr { fd00::5 } drop",
    ]
    assert chain(bypass("vnicd", "eth1", []), "ingress") == []


def test_nothing_passes_a_fence() -> None:
    text = fence("vnicd_1", "vnicd3")
    assert chain(text, "forward") == [
        'iifname "vnicd3" oifname != "vnicd3" drop',
        'oifname "vnicd3" iifname != "vnicd3" drop',
    ]
    assert text.startswith(removal("vnicd_1", ["inet"]))


def test_removal() -> None:
    assert removal("vnicd").splitlines() == [
        "add table inet vnicd",
        "delete table inet vnicd",
        "add table netdev vnicd",
        "delete table netdev vnicd",
    ]


@pytest.mark.parametrize("name", ['e"0', "eth*", "e\\0"])
def test_a_name_that_nftables_would_misread(name: str) -> None:
    with pytest.raises(Invalid, match="cannot name"):
        bypass("vnicd", name, [])
