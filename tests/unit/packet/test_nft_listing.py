"""Other people's rules as nft and iptables list them: which of them drop what is forwarded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vnicd.packet.nft_listing import Blocker, forward_chains, legacy_reason, names_interface, refusal
from vnicd.packet.nft_listing import published as published_in

OWN = "vnicd_1"


def chain(family: str, table: str, name: str, **more: Any) -> dict[str, Any]:
    return {"chain": {"family": family, "table": table, "name": name, "handle": 1, **more}}


def listing(*objects: dict[str, Any]) -> str:
    return json.dumps({"nftables": [{"metainfo": {"json_schema_version": 1}}, *objects]})


def rules(*expressions: list[Any]) -> str:
    found = ({"rule": {"family": "ip", "table": "t", "chain": "c", "expr": each}} for each in expressions)
    return listing(chain("ip", "t", "c"), *found)


def test_chains_of_forwarded_packets() -> None:
    hooked = {"type": "filter", "hook": "forward", "prio": 0}
    text = listing(
        chain("ip", "filter", "FORWARD", policy="drop", **hooked),
        chain("inet", "mine", "pass", policy="accept", **hooked),
        chain("ip6", "filter", "INPUT", type="filter", hook="input", policy="drop"),
        chain("bridge", "b", "c", policy="drop", **hooked),
        chain("inet", OWN, "forward", policy="drop", **hooked),
        chain("ip", "filter", "DOCKER"),
    )
    found = [(each.table, each.chain, each.reason, each.versions) for each in forward_chains(text, OWN)]
    assert found == [("filter", "FORWARD", "policy drop", (4,)), ("mine", "pass", "", (4, 6))]


MATCH = {"match": {"op": "==", "left": {"ct": {"key": "state"}}, "right": "established"}}


@pytest.mark.parametrize(
    ("expressions", "reason"),
    [
        ([[MATCH, {"accept": None}]], ""),
        ([[MATCH, {"drop": None}], [{"counter": {"packets": 0, "bytes": 0}}]], ""),
        ([[MATCH, {"accept": None}], [{"counter": {}}, {"drop": None}]], "drops all that is left"),
        ([[{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]], "rejects all that is left"),
        ([[{"limit": {"rate": 1}}, {"drop": None}]], ""),
        ([[{"jump": {"target": "x"}}]], ""),
    ],
)
def test_a_rule_that_drops_all_that_is_left(expressions: list[list[Any]], reason: str) -> None:
    assert refusal(rules(*expressions)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-P INPUT DROP\n-P FORWARD ACCEPT\n", ""),
        ("-P FORWARD DROP\n-A FORWARD -i eth0 -j ACCEPT\n", "policy drop"),
        (
            "-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable\n",
            "rejects all that is left",
        ),
        ("-P FORWARD ACCEPT\n-A FORWARD -i eth0 -j DROP\n", ""),
    ],
)
def test_the_filter_before_nftables(text: str, reason: str) -> None:
    assert legacy_reason(text) == reason


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('iifname "vnicd0" accept', True),
        ('iifname { "eth0", "vnicd0" } accept', True),
        ('iifname "vnicd*" accept', True),
        ("-A FORWARD -i vnicd0 -j ACCEPT", True),
        ("-A FORWARD -o vnicd+ -j ACCEPT", True),
        ('iifname "vnicd01" accept', False),
        ('log prefix "*"', False),
        ("-A FORWARD -i eth0 -j ACCEPT", False),
    ],
)
def test_rules_that_name_the_interface(text: str, named: bool) -> None:
    assert names_interface(text, "vnicd0") is named


@pytest.mark.parametrize(
    ("blocker", "command"),
    [
        (Blocker("ip", "filter", "FORWARD", ""), "iptables -I FORWARD -i vnicd0 -j ACCEPT"),
        (Blocker("ip6", "filter", "FORWARD", "", True), "ip6tables-legacy -I FORWARD -i vnicd0 -j ACCEPT"),
        (Blocker("inet", "fw", "pass", ""), "nft insert rule inet fw pass iifname vnicd0 accept"),
    ],
)
def test_what_to_do_about_it(blocker: Blocker, command: str) -> None:
    assert blocker.remedy("vnicd0").startswith(f"{command} && ")


def test_what_another_fabric_publishes_is_read() -> None:
    listed = """table inet vnicd_ba6bd3b4 {
	chain published {
		meta nfproto ipv4 fib daddr type local tcp dport 8081 dnat ip to 10.88.0.2:80
		meta nfproto ipv6 fib daddr type local tcp dport 8081 dnat ip6 to [fd88::2]:80
		ip daddr 10.0.0.2 fib daddr type local udp dport 53 dnat ip to 10.88.0.2:5353
		ip6 daddr 2001:db8::2 fib daddr type local tcp dport 8444 dnat ip6 to [fd88::2]:444
	}
}
"""
    assert published_in(listed) == {
        ("", "tcp", 8081),
        ("10.0.0.2", "udp", 53),
        ("2001:db8::2", "tcp", 8444),
    }
    assert not published_in("")
