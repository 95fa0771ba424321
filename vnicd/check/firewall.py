"""Which firewall rules may have taken a probe: not by evaluating rulesets, but by what drops and by what has counted.

A rule is *suspect* if it drops or rejects, is reached from a hook that the probe passes, and matches nothing that the
probe certainly is not. One with a counter is suspect only if that has grown. A chain whose policy is to drop is suspect
behind all its rules.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vnicd.packet.nft_listing import Blocker

Json = dict[str, Any]

HOOKS_IN = ("ingress", "prerouting", "input")
HOOKS_OUT = ("output", "postrouting", "egress")
HOOKS_THROUGH = ("prerouting", "forward", "postrouting")
_FAMILIES = {4: ("ip", "inet", "netdev"), 6: ("ip6", "inet", "netdev")}
_PROTOCOLS = {"icmp": (1, "icmp"), "icmpv6": (58, "icmpv6", "ipv6-icmp"), "tcp": (6, "tcp"), "arp": (0,)}


@dataclass(frozen=True)
class Packet:
    """What is certain of a probe at a hook."""

    version: int
    protocol: str
    """icmp, icmpv6, tcp or arp."""
    source: str = ""
    target: str = ""
    iif: str = ""
    oif: str = ""
    """The interface that it comes in by, and that it goes out by; empty if that is not certain."""
    source_port: int = 0
    target_port: int = 0
    vnic: str = ""
    """Port 0's interface, if the machine forwards it between that and the outside."""
    is_answer: bool = False
    """It belongs to a connection that the kernel knows."""


@dataclass(frozen=True)
class Suspect:
    where: str
    """Table, chain and hook."""
    rule: str
    counted: bool
    """Its counter has grown meanwhile."""
    remedy: str = ""


def suspects(
    before: Json | None, after: Json | None, legacy: tuple[str, str], packet: Packet, hooks: tuple[str, ...]
) -> list[Suspect]:
    """The rules that may have taken `packet` at one of these hooks, the likeliest first.

    `before` and `after` are documents of `nft -j list ruleset`, `legacy` two of iptables-save -c.
    """
    found = [*_nft(before or {}, after or {}, packet, hooks), *_legacy(*legacy, packet, hooks)]
    counted = [each for each in found if each.counted]
    return counted or found


# ------------------------------------------------------------------------------------------------------ nft


def _items(ruleset: Json, kind: str) -> list[Json]:
    return [each[kind] for each in ruleset.get("nftables", []) if kind in each]


def _nft(before: Json, after: Json, packet: Packet, hooks: tuple[str, ...]) -> Iterator[Suspect]:
    families = ("arp", "netdev") if packet.protocol == "arp" else _FAMILIES[packet.version]
    rules = [rule for rule in _items(after, "rule") if rule["family"] in families]
    old = {rule.get("handle"): _count(rule) for rule in _items(before, "rule")}
    for chain in _items(after, "chain"):
        if chain["family"] not in families or chain.get("hook") not in hooks:
            continue
        if not _is_at(chain, packet):
            continue
        where = f"chain {chain['name']} (table {chain['family']} {chain['table']}, hook {chain['hook']})"
        reached = _reached(chain, rules)
        is_let_pass = False
        for rule in rules:
            if (rule["family"], rule["table"]) != (chain["family"], chain["table"]) or rule[
                "chain"
            ] not in reached:
                continue
            if rule["chain"] == chain["name"] and _accepts(rule["expr"], packet):
                is_let_pass = True
            if is_let_pass and rule["chain"] == chain["name"]:
                continue
            if not _drops(rule["expr"]) or not _may_match(rule["expr"], packet):
                continue
            now, then = _count(rule), old.get(rule.get("handle"))
            if now is not None and now == then:
                continue
            place = shlex.join([chain["family"], chain["table"], rule["chain"]])
            remedy = f"nft delete rule {place} handle {rule.get('handle')}"
            yield Suspect(where, _text(rule["expr"]), now is not None and now != then, remedy)
        if chain.get("policy") == "drop" and not is_let_pass:
            yield Suspect(where, "policy drop", False, _acceptance(chain, packet))


def _is_at(chain: Json, packet: Packet) -> bool:
    """Whether a chain is not one of other interfaces only, as those of the family netdev are."""
    places = chain.get("dev")
    return places is None or bool(
        {packet.iif, packet.oif} & {*([places] if isinstance(places, str) else places)}
    )


def _acceptance(chain: Json, packet: Packet) -> str:
    """The command that lets the probe, and what is like it, pass a chain that drops all else."""
    if packet.vnic and chain["hook"] == "forward":
        return Blocker(chain["family"], chain["table"], chain["name"], "").remedy(packet.vnic)
    family = "ip" if packet.version == 4 else "ip6"
    command = f"nft add rule {shlex.join([chain['family'], chain['table'], chain['name']])}"
    if packet.vnic:
        outside = packet.source if packet.is_answer else packet.target
        return " && ".join(f"{command} {family} {side} {outside} accept" for side in ("daddr", "saddr"))
    if not packet.source:
        return f"{command} accept"
    side, other = ("saddr", packet.source) if chain["hook"] in HOOKS_IN else ("daddr", packet.target)
    return f"{command} {family} {side} {other} accept"


def _reached(chain: Json, rules: list[Json]) -> set[str]:
    """The chains of a table that rules of this one lead to, itself included."""
    found, new = set(), {chain["name"]}
    while new:
        found |= new
        new = {
            target
            for rule in rules
            if rule["table"] == chain["table"]
            and rule["family"] == chain["family"]
            and rule["chain"] in found
            for target in _targets(rule["expr"])
        } - found
    return found


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("jump", "goto") and isinstance(inner, dict) and "target" in inner:
                yield inner["target"]
            else:
                yield from _targets(inner)
    elif isinstance(value, list):
        for each in value:
            yield from _targets(each)


def _drops(value: Any) -> bool:
    """Whether a verdict in it, also one of a map, is to drop or to reject."""
    if isinstance(value, dict):
        if "drop" in value or "reject" in value:
            return True
        xt = value.get("xt")
        if (
            isinstance(xt, dict)
            and xt.get("type") == "target"
            and xt.get("name") in ("DROP", "REJECT", "TARPIT")
        ):
            return True
        return any(_drops(inner) for inner in value.values())
    return isinstance(value, list) and any(_drops(each) for each in value)


def _count(rule: Json) -> int | None:
    for each in rule["expr"]:
        counter = each.get("counter") if isinstance(each, dict) else None
        if isinstance(counter, dict):
            return int(counter["packets"])
    return None


def _accepts(expressions: list[Json], packet: Packet) -> bool:
    """Whether a rule certainly lets the packet pass."""
    words = [next(iter(each), "") for each in expressions]
    if "accept" not in words or set(words) - {"match", "counter", "comment", "accept"}:
        return False
    return all(_must(each["match"], packet) for each in expressions if "match" in each)


def _must(match: Json, packet: Packet) -> bool:
    """Whether a match is certainly true of the packet."""
    fact = _fact(match.get("left"), packet)
    holds = _is_among(fact, match.get("right")) if fact is not None and fact != NEVER else None
    return holds is not None and holds == (match.get("op") != "!=")


def _may_match(expressions: list[Json], packet: Packet) -> bool:
    return all(_may(each["match"], packet) for each in expressions if "match" in each)


def _may(match: Json, packet: Packet) -> bool:
    """Whether a match may be true of the packet; what is not understood may."""
    fact = _fact(match.get("left"), packet)
    if fact is None:
        return True
    if fact == NEVER:
        return False
    holds = _is_among(fact, match.get("right"))
    if holds is None:
        return True
    return not holds if match.get("op") == "!=" else holds


NEVER = ("",)
"""A match about another protocol is false, whatever it compares with."""


def _fact(left: Any, packet: Packet) -> tuple[Any, ...] | None:
    """What the left side of a match is for the packet, in the forms that nft may have for it; None if unknown."""
    if not isinstance(left, dict):
        return None
    if isinstance(meta := left.get("meta"), dict):
        return _meta(str(meta.get("key")), packet)
    if isinstance(ct := left.get("ct"), dict) and ct.get("key") == "state" and packet.is_answer:
        return ("established",)
    if isinstance(payload := left.get("payload"), dict):
        return _payload(str(payload.get("protocol")), str(payload.get("field")), packet)
    return None


def _meta(key: str, packet: Packet) -> tuple[Any, ...] | None:
    if key == "l4proto":
        return _PROTOCOLS[packet.protocol]
    if key == "nfproto":
        return ("ipv4",) if packet.version == 4 else ("ipv6",)
    ifname = {"iifname": packet.iif, "oifname": packet.oif}.get(key)
    return (ifname,) if ifname else None


def _payload(protocol: str, name: str, packet: Packet) -> tuple[Any, ...] | None:
    if protocol in ("ip", "ip6"):
        if (protocol == "ip") != (packet.version == 4) or packet.protocol == "arp":
            return NEVER
        known = {"protocol": _PROTOCOLS[packet.protocol], "nexthdr": _PROTOCOLS[packet.protocol]}
        addresses = {"saddr": packet.source, "daddr": packet.target}
        return known.get(name) or ((addresses[name],) if addresses.get(name) else None)
    if protocol in ("tcp", "udp", "sctp", "icmp", "icmpv6") and protocol != packet.protocol:
        return NEVER
    ports = {"sport": packet.source_port, "dport": packet.target_port}
    return (ports[name],) if protocol == "tcp" and ports.get(name) else None


def _is_among(forms: tuple[Any, ...], right: Any) -> bool | None:
    """Whether a value, in one of its forms, is what the right side of a match names; None if it is not understood."""
    if isinstance(right, list):
        return _is_among_many(forms, {"set": right})
    if isinstance(right, dict):
        return _is_among_many(forms, right)
    if isinstance(right, str) and not right.startswith("@"):
        begins = right.endswith("*") and any(str(form).startswith(right[:-1]) for form in forms)
        return right in forms or begins
    return right in forms if isinstance(right, int) else None


def _is_among_many(forms: tuple[Any, ...], right: Json) -> bool | None:
    if "set" in right:
        answers = [_is_among(forms, each) for each in right["set"]]
        return True if True in answers else None if None in answers else False
    if "range" in right and isinstance(right["range"][0], int):
        low, high = right["range"]
        return any(isinstance(form, int) and low <= form <= high for form in forms)
    if "prefix" in right:
        return _is_in(forms, f"{right['prefix']['addr']}/{right['prefix']['len']}")
    return None


def _is_in(forms: tuple[Any, ...], network: str) -> bool:
    try:
        return any(
            ipaddress.ip_address(form) in ipaddress.ip_network(network, strict=False)
            for form in forms
            if form
        )
    except ValueError:
        return False


def _text(expressions: list[Json]) -> str:
    """A rule about as nft writes it."""
    return " ".join(filter(None, map(_words, expressions))) or "drop"


def _words(expression: Json) -> str:
    (key, value), *_ = expression.items()
    if key == "match":
        operator = "" if value.get("op") in ("==", "in") else f"{value.get('op')} "
        return f"{_side(value.get('left'))} {operator}{_side(value.get('right'))}"
    if key in ("drop", "reject"):
        return str(key)
    if key == "xt":
        return str(value.get("name", "")) if isinstance(value, dict) else ""
    if key == "vmap":
        return f"{_side(value.get('key'))} vmap ..."
    return "" if key in ("counter", "comment", "log") else str(key)


def _side(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return str(value)
    (key, inner), *_ = value.items()
    if key == "set":
        return "{ " + ", ".join(map(_side, inner)) + " }"
    if not isinstance(inner, dict):
        return "..."
    forms = {
        "payload": f"{inner.get('protocol', '')} {inner.get('field', '')}",
        "meta": str(inner.get("key")),
        "prefix": f"{inner.get('addr')}/{inner.get('len')}",
        "ct": f"ct {inner.get('key')}",
    }
    return forms.get(key, "...").strip()


# ---------------------------------------------------------------------------------------- iptables-legacy

_CHAINS = {"ingress": (), "prerouting": ("PREROUTING",), "input": ("INPUT",), "output": ("OUTPUT",),
           "postrouting": ("POSTROUTING",), "egress": (), "forward": ("FORWARD",)}  # fmt: skip
_LINE = re.compile(r"(?:\[(\d+):\d+\] )?-A (\S+) ?(.*)")
_POLICY = re.compile(r":(\S+) DROP")


def _legacy(before: str, after: str, packet: Packet, hooks: tuple[str, ...]) -> Iterator[Suspect]:
    if packet.protocol == "arp":
        return
    old = {
        (number, line[line.find("-A") :]): _packets(line)
        for number, line in enumerate(_of_version(before, packet.version))
    }
    tool = "iptables-legacy" if packet.version == 4 else "ip6tables-legacy"
    built_in = {chain for hook in hooks for chain in _CHAINS[hook]}
    table, policies = "", []
    for number, line in enumerate(_of_version(after, packet.version)):
        if line.startswith("# ") and UNREAD in line:
            yield Suspect(tool, line.removeprefix("# "), False)
        elif line.startswith("*"):
            table = line[1:]
        elif (policy := _POLICY.match(line)) and policy[1] in built_in:
            where = f"chain {policy[1]} ({tool}, table {table})"
            policies.append(Suspect(where, "policy drop", False, f"{tool} -P {policy[1]} ACCEPT"))
        elif (rule := _LINE.match(line)) and re.search(r"-j (DROP|REJECT|TARPIT)\b", rule[3]):
            own = rule[2] in built_in or rule[2] not in (
                "INPUT",
                "OUTPUT",
                "FORWARD",
                "PREROUTING",
                "POSTROUTING",
            )
            grew = _packets(line) != old.get((number, line[line.find("-A") :]), 0)
            if own and grew:
                where = f"chain {rule[2]} ({tool}, table {table})"
                yield Suspect(where, rule[3], True, _deletion(tool, table, rule[2], rule[3]))
    yield from policies


UNREAD = "can't be run"


def _of_version(text: str, version: int) -> Iterator[str]:
    """The lines that are about this IP version; each tool begins what it prints with its name."""
    is_meant = True
    for line in text.splitlines():
        if line.startswith("# Generated by ip"):
            is_meant = line.startswith("# Generated by ip6tables") == (version == 6)
        if is_meant or UNREAD in line:
            yield line


def _deletion(tool: str, table: str, chain: str, rule: str) -> str:
    """The command that deletes a rule. In its comment may stand what a shell would carry out."""
    try:
        return shlex.join([tool, "-t", table, "-D", chain, *shlex.split(rule)])
    except ValueError:
        return ""


def _packets(line: str) -> int:
    found = _LINE.match(line)
    return int(found[1] or 0) if found else 0
