"""The nftables scripts of an uplink: masquerade and published ports in nat mode, no second delivery in shared mode, and
no way through the machine in mode none.

All rules are in a table of vnicd's own, which each script makes anew in one transaction; nothing else of the machine's
rules is touched. A verdict of ours does not overrule another table's: a machine whose own rules drop forwarded packets
goes on dropping them.

A published port answers on the machine's addresses, for the machine itself and the partitions as well. For the machine
itself it answers on 127.0.0.0/8, too: such a packet may go to port 0's interface, and its answer come back, only with
that interface's route_localnet, which by itself would open every service on the loopback interface to the partitions.
So the chain `loopback` drops what they send there, before anything else looks at it. The kernel has nothing of the kind
for ::1.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from vnicd.errors import Invalid
from vnicd.spec.partition import Interface
from vnicd.spec.uplink import Publish, UplinkSpec

FAMILIES = ("inet", "netdev")

_KEYWORD = {4: "ip", 6: "ip6"}
_LOOPBACK = {4: "127.0.0.0/8", 6: "::1"}


@dataclass(frozen=True, order=True)
class Datagrams:
    """A published UDP port of one family."""

    address: str
    """Of the machine; empty for all of them."""
    port: int
    target: str
    """Address and port of the partition."""


def ruleset(
    table: str,
    vnic: str,
    nic: str,
    spec: UplinkSpec,
    addresses: Mapping[str, tuple[str, ...]],
    is_router: bool = False,
) -> str:
    """The script for nat mode: `vnic` is port 0's interface, `addresses` are those of the partitions by name.

    The kernel forwards by the interface that a packet comes in by, to anywhere. So it is said here between which
    two it may; `is_router` tells that the machine forwarded what came in by the NIC before, and is to go on.
    """
    out, inside = _quoted(nic), _quoted(vnic)
    published = list(_published(spec, addresses))
    chains = {
        "published": published,
        "loopback": [
            "type filter hook prerouting priority -300",
            f"iifname {inside} ip daddr {_LOOPBACK[4]} drop",
            f"iifname {inside} ip saddr {_LOOPBACK[4]} drop",
        ],
        "prerouting": [
            "type nat hook prerouting priority -100",
            f"ip daddr != {_LOOPBACK[4]} jump published",
            f"ip6 daddr != {_LOOPBACK[6]} jump published",
        ],
        "output": [
            "type nat hook output priority -100",
            "meta nfproto ipv4 jump published",
            f"ip6 daddr != {_LOOPBACK[6]} jump published",
        ],
        "postrouting": ["type nat hook postrouting priority 100", *_masquerade(spec, inside, out)],
        "forward": [
            "type filter hook forward priority 0",
            *_own_sources(spec, inside),
            "ct state established,related accept",
            "ct status dnat accept",
            f"oifname {inside} iifname != {inside} drop",
            f"iifname {inside} oifname != {{ {out}, {inside} }} drop",
            *([] if is_router else [f"iifname {out} oifname != {inside} drop"]),
        ],
    }
    return _script("inet", table, chains)


def fence(table: str, vnic: str) -> str:
    """The script for mode none on a machine that forwards: nothing passes it from or to `vnic`, port 0's interface."""
    inside = _quoted(vnic)
    rules = [f"iifname {inside} oifname != {inside} drop", f"oifname {inside} iifname != {inside} drop"]
    return _script("inet", table, {"forward": ["type filter hook forward priority 0", *rules]})


def bypass(table: str, nic: str, addresses: Iterable[str]) -> str:
    """The script for shared mode: what comes in for the partitions' addresses goes no further than to packet sockets.

    They have seen it before this chain does. A machine that forwards packets would deliver it a second time, one that
    does not might answer that there is no way.
    """
    rules = []
    for version, found in _by_version(addresses).items():
        listed = ", ".join(sorted({str(address.ip) for address in found}))
        rules.append(f"{_KEYWORD[version]} daddr {{ {listed} }} drop")
    hook = f"type filter hook ingress device {_quoted(nic)} priority 0"
    return _script("netdev", table, {"ingress": [hook, *rules]})


def removal(table: str, families: Iterable[str] = FAMILIES) -> str:
    """The script that removes the tables of that name, whether they are there or not."""
    return "".join(f"add table {family} {table}\ndelete table {family} {table}\n" for family in families)


def _script(family: str, table: str, chains: Mapping[str, list[str]]) -> str:
    lines = [f"table {family} {table} {{"]
    for name, rules in chains.items():
        lines += [f"\tchain {name} {{", *(f"\t\t{rule}" for rule in rules), "\t}"]
    return removal(table, [family]) + "\n".join([*lines, "}", ""])


def datagrams(spec: UplinkSpec, addresses: Mapping[str, tuple[str, ...]]) -> frozenset[Datagrams]:
    """The published UDP ports that lead somewhere."""
    return frozenset(
        Datagrams(each.address, each.port, to)
        for each, _, to in _ways(spec, addresses)
        if each.protocol == "udp"
    )


def needs_loopback(spec: UplinkSpec, addresses: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a published port leads somewhere from 127.0.0.0/8."""
    return any(
        version == 4 and (not each.address or ipaddress.ip_address(each.address).is_loopback)
        for each, version, _ in _ways(spec, addresses)
    )


def destination(spec: UplinkSpec, each: Publish, addresses: tuple[str, ...]) -> list[str]:
    """Where a published port of a partition with these addresses leads to, with the port; empty for nowhere."""
    return [to for _, _, to in _ways(replace(spec, publish=(each,)), {each.name: addresses})]


def _ways(spec: UplinkSpec, addresses: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[Publish, int, str]]:
    """Each published port in each family that the partition has an address of, and where it leads to."""
    for each in spec.publish:
        for version, found in _by_version(addresses.get(each.name, ())).items():
            if not each.address or ipaddress.ip_address(each.address).version == version:
                target = _target(spec, found)
                yield each, version, f"{f'[{target}]' if version == 6 else target}:{each.target}"


def _published(spec: UplinkSpec, addresses: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """A rule for each of them."""
    for each, version, to in _ways(spec, addresses):
        keyword = _KEYWORD[version]
        condition = f"{keyword} daddr {each.address}" if each.address else f"meta nfproto ipv{version}"
        yield (f"{condition} fib daddr type local {each.protocol} dport {each.port} dnat {keyword} to {to}")


def _target(spec: UplinkSpec, found: list[Interface]) -> str:
    """The address of a partition that is reached through the gateway: rather one of the subnets."""
    inside = [each for each in found if any(each.ip in gateway.network for gateway in spec.gateways)]
    return str((inside or found)[0].ip)


def _masquerade(spec: UplinkSpec, inside: str, out: str) -> Iterator[str]:
    """For what leaves by the NIC, and for packets of a partition, or from 127.0.0.0/8, to a published port.

    A partition's come back to the link that they came from, where their source would be answered directly.
    """
    for gateway in spec.gateways:
        source = f"{_KEYWORD[gateway.version]} saddr {gateway.network}"
        yield f"oifname {out} {source} masquerade"
        yield f"oifname {inside} {source} ct status dnat masquerade"
        if gateway.version == 4:
            yield f"oifname {inside} ip saddr {_LOOPBACK[4]} ct status dnat masquerade"


def _own_sources(spec: UplinkSpec, inside: str) -> Iterator[str]:
    """What partitions send is forwarded only from the subnets' addresses."""
    networks = {gateway.version: gateway.network for gateway in spec.gateways}
    for version, keyword in _KEYWORD.items():
        if version in networks:
            yield f"iifname {inside} {keyword} saddr != {networks[version]} drop"
        else:
            yield f"iifname {inside} meta nfproto ipv{version} drop"


def _by_version(addresses: Iterable[str]) -> dict[int, list[Interface]]:
    """Addresses, with or without prefix lengths, of each family that there is."""
    found: dict[int, list[Interface]] = {}
    for address in map(ipaddress.ip_interface, addresses):
        found.setdefault(address.version, []).append(address)
    return dict(sorted(found.items()))


def _quoted(name: str) -> str:
    """An interface's name as nft reads it."""
    if any(character in name for character in '"\\*'):
        raise Invalid(f"nftables cannot name the interface {name}", "rename it: ip link set ... name ...")
    return f'"{name}"'
