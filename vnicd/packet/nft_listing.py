"""What nft and iptables list of other people's rules, read for one question: do they drop what is forwarded?"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

VERSIONS = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
"""The IP versions that a family of tables sees."""

POLICY = "policy drop"


@dataclass(frozen=True)
class ForwardChain:
    """A base chain that sees forwarded packets; `reason` says that it drops them, if its policy does."""

    family: str
    table: str
    chain: str
    reason: str

    @property
    def versions(self) -> tuple[int, ...]:
        return VERSIONS[self.family]


@dataclass(frozen=True)
class Blocker:
    """A chain of others that drops what is forwarded."""

    family: str
    table: str
    chain: str
    reason: str
    is_legacy: bool = False
    """Of the packet filter that was there before nftables: nft does not show it."""

    def __str__(self) -> str:
        return f"chain {self.chain} of table {self.family} {self.table}: {self.reason}"

    def remedy(self, vnic: str) -> str:
        """The command that lets pass what comes from or goes to port 0's interface."""
        if self.is_legacy or (self.table, self.chain) == ("filter", "FORWARD"):
            tool = ("iptables" if self.family != "ip6" else "ip6tables") + (
                "-legacy" if self.is_legacy else ""
            )
            return " && ".join(f"{tool} -I FORWARD -{way} {vnic} -j ACCEPT" for way in "io")
        where = f"nft insert rule {shlex.join([self.family, self.table, self.chain])}"
        return " && ".join(f"{where} {way}ifname {vnic} accept" for way in "io")


def forward_chains(text: str, own: str) -> list[ForwardChain]:
    """The chains of forwarded packets in `nft -j list chains`, but for those of the table `own`."""
    return [
        ForwardChain(
            each["family"], each["table"], each["name"], POLICY if each.get("policy") == "drop" else ""
        )
        for each in _objects(text, "chain")
        if each.get("hook") == "forward" and each.get("family") in VERSIONS and each.get("table") != own
    ]


def refusal(text: str) -> str:
    """Why a chain, as `nft -j list chain` has it, drops everything that comes to its end; empty if it does not."""
    for rule in _objects(text, "rule"):
        words = [next(iter(each), "") for each in rule.get("expr") or () if isinstance(each, dict)]
        meaningful = [word for word in words if word not in ("counter", "log", "limit")]
        if "limit" not in words and meaningful in (["drop"], ["reject"]):
            return f"{meaningful[0]}s all that is left"
    return ""


_PUBLISHED = re.compile(r"(?:ip6? daddr (\S+) )?.*\b(tcp|udp) dport (\d+) dnat ip6? to")


def published(text: str) -> set[tuple[str, str, int]]:
    """(address, protocol, port) of each rule in `nft list chain` of a fabric's chain `published`; "" is any address."""
    found = (_PUBLISHED.match(line.strip()) for line in text.splitlines())
    return {(each[1] or "", each[2], int(each[3])) for each in found if each}


def legacy_reason(text: str) -> str:
    """Why the FORWARD chain in `iptables -S` drops packets; empty if it does not."""
    for line in text.splitlines():
        if line == "-P FORWARD DROP":
            return POLICY
        if line.split()[:4] in (["-A", "FORWARD", "-j", word] for word in ("DROP", "REJECT")):
            return f"{line.split()[3].lower()}s all that is left"
    return ""


def names_interface(text: str, name: str) -> bool:
    """Whether rules name an interface, or all whose names begin as its name does."""
    quoted = re.findall(r'"([^"\n]+)"', text) + re.findall(r"-[io] (\S+)", text)
    return any(
        each == name or (each[-1] in "*+" and len(each) > 1 and name.startswith(each[:-1])) for each in quoted
    )


def _objects(text: str, kind: str) -> list[dict[str, Any]]:
    return [each[kind] for each in json.loads(text).get("nftables", ()) if kind in each]
