"""Names of partitions: where they are asked for, and what the files say that lead programs there. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from vnicd.spec.addresses import host
from vnicd.spec.partition import PartitionSpec

SERVER = "127.0.0.77"
"""The address, in each partition's namespace, at which its fabric's names are asked for."""

TCP_PORT = 53
"""Of TCP and UDP."""

SUFFIX = "vnicd.internal"
"""Behind a partition's name it makes the full one. Nobody else can have it: .internal is for private use (ICANN)."""

TTL_S = 5


def known_names(specs: Collection[PartitionSpec]) -> dict[str, tuple[str, ...]]:
    """The names of partitions with their addresses. An alias may be that of several, but not another's name."""
    found = {spec.name: tuple(map(host, spec.addresses)) for spec in specs}
    aliases: dict[str, list[str]] = {}
    for spec in specs:
        for alias in spec.aliases:
            if alias not in found:
                aliases.setdefault(alias, []).extend(found[spec.name])
    return {**found, **{alias: tuple(addresses) for alias, addresses in aliases.items()}}


def lo_down(name: str) -> tuple[str, str]:
    """What is said of a partition whose loopback interface is down, which its SERVER is at; and the remedy."""
    text = f"lo of {name} is down, so names are not answered there"
    return text, f"vnicctl exec {name} -- ip link set lo up"


COMMON = "# Made by vnicd: partitions find each other by name."
"""The first line of files that are for no partition alone."""


def mark(root: str, name: str) -> str:
    """The first line of a file that was made for a partition of the fabric with this runtime directory."""
    return f"# Made by vnicd for the partition {name} of {root!a}, and taken away with it."


def owner(first_line: str, root: str) -> str:
    """The partition of this fabric for which a file with this first line was made; empty when it was not."""
    match = re.fullmatch(r"# Made by vnicd for the partition ([A-Za-z0-9._-]+) of .*", first_line)
    return match[1] if match and first_line == mark(root, match[1]) else ""


def resolv_conf(first_line: str) -> str:
    """What stands in for /etc/resolv.conf in a partition.

    Without a search list the C library would make one of the machine's own domain, and ask the world for `green` in it.
    """
    return f"{first_line}\nnameserver {SERVER}\nsearch {SUFFIX}\n"


_HOSTS = re.compile(r"^([ \t]*hosts:)(.*)$", re.MULTILINE)
_SERVICE = re.compile(r"(\S+)((?:\s*\[[^]\n]*\])*)")
ASKS_ELSEWHERE = ("resolve", "mymachines")
"""Modules of the C library that ask a daemon of the machine, which does not know that a partition asks."""


def nsswitch_conf(first_line: str, machine: str) -> str:
    """What stands in for /etc/nsswitch.conf in a partition; empty when the machine's own will do.

    systemd's `resolve` asks systemd-resolved by a Unix socket, and with its usual [!UNAVAIL=return] nobody asks the
    name server of resolv.conf after it.
    """
    match = _HOSTS.search(machine)
    services = _SERVICE.findall(match[2].partition("#")[0]) if match else []
    if match is None or not any(service in ASKS_ELSEWHERE for service, _ in services):
        return ""
    kept = [f"{service}{rule}".strip() for service, rule in services if service not in ASKS_ELSEWHERE]
    if not any(each.split()[0] == "dns" for each in kept):
        kept.append("dns")
    line = f"{match[1]} {' '.join(kept)}"
    return f"{first_line}\n{machine[: match.start()]}{line}{machine[match.end() :]}"
