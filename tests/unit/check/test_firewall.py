"""Which firewall rules are suspected of having taken a probe."""

from __future__ import annotations

from typing import Any

import pytest

from vnicd.check.firewall import HOOKS_IN, HOOKS_OUT, Packet, Suspect, suspects

Json = dict[str, Any]
ECHO = Packet(4, "icmp", "10.77.0.1", "10.77.0.2", "vnic0", "vnic0")
SYN = Packet(4, "tcp", "10.77.0.1", "10.77.0.2", "vnic0", "vnic0", target_port=5432)
ARP = Packet(4, "arp", iif="vnic0")
DROP: Json = {"drop": None}


def chain(hook: str, policy: str = "accept", name: str = "c", family: str = "inet", **more: Any) -> Json:
    words = {"family": family, "table": "t", "name": name}
    return {"chain": {**words, **({"hook": hook, "policy": policy} if hook else {}), **more}}


def rule(*expressions: Json, name: str = "c", handle: int = 1, family: str = "inet") -> Json:
    words = {"family": family, "table": "t", "chain": name, "handle": handle}
    return {"rule": {**words, "expr": list(expressions)}}


def match(protocol: str, field: str, right: Any, operator: str = "==") -> Json:
    return {
        "match": {"op": operator, "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}
    }


def meta(key: str, right: Any) -> Json:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}


def counter(packets: int) -> Json:
    return {"counter": {"packets": packets, "bytes": 84 * packets}}


def found(
    *items: Json, packet: Packet = ECHO, before: tuple[Json, ...] = (), hooks: tuple[str, ...] = HOOKS_IN
) -> list[Suspect]:
    return suspects({"nftables": list(before or items)}, {"nftables": list(items)}, ("", ""), packet, hooks)


def test_a_rule_that_drops() -> None:
    (suspect,) = found(chain("input"), rule(match("ip", "saddr", "10.77.0.1"), DROP, handle=7))
    assert suspect == Suspect(
        "chain c (table inet t, hook input)",
        "ip saddr 10.77.0.1 drop",
        False,
        "nft delete rule inet t c handle 7",
    )


def test_a_policy_comes_with_a_rule_that_lets_the_probe_pass() -> None:
    (suspect,) = found(chain("input", "drop"))
    assert suspect.rule == "policy drop"
    assert suspect.remedy == "nft add rule inet t c ip saddr 10.77.0.1 accept"


def test_a_hook_that_the_probe_does_not_pass() -> None:
    assert not found(chain("output", "drop"))
    assert found(chain("output", "drop"), hooks=HOOKS_OUT)


def test_another_family_and_another_interface() -> None:
    assert not found(chain("input", "drop", family="ip6"))
    assert not found(chain("input", "drop", family="arp"))
    assert found(chain("input", "drop", family="arp"), packet=ARP)
    assert not found(chain("ingress", "drop", family="netdev", dev="eth9"))
    assert found(chain("ingress", "drop", family="netdev", dev="vnic0"))


@pytest.mark.parametrize(
    "expression",
    [
        match("tcp", "dport", 22),
        match("ip", "saddr", "10.77.0.9"),
        match("ip", "saddr", {"prefix": {"addr": "10.88.0.0", "len": 16}}),
        match("ip", "saddr", "10.77.0.1", "!="),
        match("ip6", "saddr", {"prefix": {"addr": "fd78::", "len": 64}}, "!="),
        match("ip", "protocol", {"set": ["tcp", "udp"]}),
        meta("iifname", "eth0"),
        meta("l4proto", "tcp"),
        meta("nfproto", "ipv6"),
    ],
)
def test_a_rule_that_cannot_match_is_not_suspected(expression: Json) -> None:
    assert not found(chain("input"), rule(expression, DROP))


@pytest.mark.parametrize(
    "expression",
    [
        match("ip", "saddr", {"prefix": {"addr": "10.77.0.0", "len": 24}}),
        match("ip", "saddr", {"set": ["10.1.1.1", "10.77.0.1"]}),
        match("ip", "saddr", "@blocked"),
        match("icmp", "type", "echo-request"),
        match("ip", "protocol", "icmp"),
        meta("iifname", "vnic*"),
        meta("l4proto", 1),
        meta("mark", 7),
        {"limit": {"rate": 10, "per": "second"}},
    ],
)
def test_a_rule_that_may_match_is_suspected(expression: Json) -> None:
    assert found(chain("input"), rule(expression, DROP))


def test_tcp_ports() -> None:
    for right, hit in (
        (5432, True),
        (22, False),
        ({"range": [5000, 6000]}, True),
        ({"set": [22, 80]}, False),
    ):
        assert bool(found(chain("input"), rule(match("tcp", "dport", right), DROP), packet=SYN)) is hit


def test_counters_tell_which_rule_it_was() -> None:
    before = (
        chain("input"),
        rule(counter(5), DROP, handle=1),
        rule(counter(1), DROP, handle=2),
        rule(DROP, handle=3),
    )
    now = (
        chain("input"),
        rule(counter(5), DROP, handle=1),
        rule(counter(4), DROP, handle=2),
        rule(DROP, handle=3),
    )
    (suspect,) = found(*now, before=before)
    assert suspect.counted and suspect.remedy.endswith("handle 2")
    (suspect,) = found(*before)
    assert not suspect.counted and suspect.remedy.endswith("handle 3"), (
        "counters that stand clear their rules"
    )


def test_a_chain_that_is_jumped_to() -> None:
    jump = rule({"jump": {"target": "inner"}}, name="c")
    inner, lonely = rule({"reject": None}, name="inner"), rule(DROP, name="lonely", handle=9)
    (suspect,) = found(chain("input"), chain("", name="inner"), chain("", name="lonely"), jump, inner, lonely)
    assert suspect.rule == "reject"


def test_a_verdict_map_and_a_target_of_iptables() -> None:
    vmap = {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", DROP]]}}}
    assert found(chain("input"), rule(vmap))
    assert found(chain("input"), rule({"xt": {"type": "target", "name": "REJECT"}}))


LEGACY = """\
*filter
:INPUT DROP [7:588]
:OUTPUT ACCEPT [0:0]
[{}:84] -A INPUT -s 10.77.0.1/32 -j DROP
[0:0] -A OUTPUT -j REJECT
COMMIT
"""


def test_iptables_legacy() -> None:
    (suspect,) = suspects(None, None, (LEGACY.format(1), LEGACY.format(3)), ECHO, HOOKS_IN)
    assert suspect.counted and suspect.rule == "-s 10.77.0.1/32 -j DROP"
    assert suspect.where == "chain INPUT (iptables-legacy, table filter)"
    (policy,) = suspects(None, None, (LEGACY.format(1), LEGACY.format(1)), ECHO, HOOKS_IN)
    assert policy.rule == "policy drop" and policy.remedy == "iptables-legacy -P INPUT ACCEPT"


def test_iptables_legacy_is_two_tools() -> None:
    """What one of them has counted says nothing of a packet of the other's."""
    text = "# Generated by iptables-save v1.8.9 on Tue\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    text += "# Generated by ip6tables-save v1.8.9 on Tue\n*filter\n:INPUT ACCEPT [0:0]\n[{}:84] -A INPUT -j DROP\n"
    legacy = text.format(1), text.format(3)
    assert suspects(None, None, legacy, ECHO, HOOKS_IN) == []
    packet = Packet(6, "icmpv6", "fd77::1", "fd77::2", "vnic0")
    (suspect,) = suspects(None, None, legacy, packet, HOOKS_IN)
    assert suspect.where == "chain INPUT (ip6tables-legacy, table filter)"
    assert suspect.remedy == "ip6tables-legacy -t filter -D INPUT -j DROP"


def test_a_remedy_carries_out_nothing_else() -> None:
    """Names and comments are chosen by the partition's root, and somebody may paste the remedy into a root shell."""
    hostile = '*filter\n[{}:84] -A INPUT -m comment --comment "$(reboot)" -j DROP\n'
    (suspect,) = suspects(None, None, (hostile.format(1), hostile.format(3)), ECHO, HOOKS_IN)
    words = "iptables-legacy -t filter -D INPUT -m comment --comment '$(reboot)' -j DROP"
    assert suspect.remedy == words
    base: Json = {"family": "inet", "table": "$(reboot)", "name": "c", "hook": "input", "policy": "drop"}
    rule: Json = {"family": "inet", "table": "$(reboot)", "chain": "c", "handle": 7, "expr": [{"drop": None}]}
    found = suspects(None, {"nftables": [{"chain": base}, {"rule": rule}]}, ("", ""), ECHO, HOOKS_IN)
    assert len(found) == 2
    assert all("'$(reboot)'" in each.remedy for each in found)


def test_rules_that_cannot_be_read_are_told() -> None:
    (suspect,) = suspects(None, None, ("", "# iptables-legacy-save can't be run\n"), ECHO, HOOKS_IN)
    assert "can't be run" in suspect.rule


AWAY = Packet(4, "icmp", "10.78.0.2", "192.0.2.9", "vnicd0", "eth1", vnic="vnicd0")
BACK = Packet(4, "icmp", "192.0.2.9", "10.78.0.2", "eth1", "vnicd0", vnic="vnicd0", is_answer=True)
OUT_OF, INTO = meta("iifname", "vnicd0"), meta("oifname", "vnicd0")
KNOWN: Json = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
ACCEPT: Json = {"accept": None}


@pytest.mark.parametrize("packet", [AWAY, BACK])
def test_what_is_forwarded_is_let_pass_both_ways(packet: Packet) -> None:
    (suspect,) = found(chain("forward", "drop"), packet=packet, hooks=("forward",))
    insert = "nft insert rule inet t c"
    assert suspect.remedy == f"{insert} iifname vnicd0 accept && {insert} oifname vnicd0 accept"
    (suspect,) = found(chain("prerouting", "drop"), packet=packet, hooks=("prerouting",))
    add = "nft add rule inet t c ip"
    assert suspect.remedy == f"{add} daddr 192.0.2.9 accept && {add} saddr 192.0.2.9 accept"


@pytest.mark.parametrize(
    ("rules", "packet", "suspected"),
    [
        ((OUT_OF, ACCEPT), AWAY, False),
        ((OUT_OF, ACCEPT), BACK, True),
        ((OUT_OF, counter(3), ACCEPT), AWAY, False),
        ((OUT_OF, {"limit": {"rate": 1}}, ACCEPT), AWAY, True),
        ((INTO, ACCEPT), BACK, False),
        ((KNOWN, ACCEPT), BACK, False),
        ((KNOWN, ACCEPT), AWAY, True),
        ((match("tcp", "dport", 22), ACCEPT), AWAY, True),
    ],
)
def test_what_a_rule_has_accepted_before_is_not_dropped(
    rules: tuple[Json, ...], packet: Packet, suspected: bool
) -> None:
    items = chain("forward", "drop"), rule(*rules), rule(DROP, handle=2)
    assert bool(found(*items, packet=packet, hooks=("forward",))) == suspected
    assert found(items[0], items[2], items[1], packet=packet, hooks=("forward",))
