"""What a network is - a fabric of its own beside the default one - and the checks of a user's words; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from vnicd.config import DEFAULT_NETWORK, Options
from vnicd.errors import Invalid
from vnicd.spec.fabric_file import Declared
from vnicd.spec.partition import NAME_RULE, check_pairs, is_name
from vnicd.spec.pool import check_gateways, check_subnets
from vnicd.spec.uplink import Network, UplinkSpec, make_uplink

Mode = Literal["nat", "bridge", "none", "internal"]

NEEDS_SUBNET = ("nat", "none")
"""Modes in which the machine has an address in the network; no two of them may have the same subnets."""

CHOICES: tuple[tuple[str, int], ...] = (("10.79.0.0/16", 24), ("fd79::/56", 64))
"""Where subnets are taken from that nobody has named, and how long their prefixes are."""


@dataclass(frozen=True)
class NetworkSpec:
    """A network as it was asked for: all of it is checked and normal."""

    name: str
    mode: str = "nat"
    nic: str = ""
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    """In nat mode and mode none the machine's own addresses, one in each subnet."""
    labels: tuple[str, ...] = ()

    @property
    def networks(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(text) for text in self.subnets)

    def declared(self) -> Declared:
        """As its fabric file declares it."""
        own = _own_addresses(self.networks, self.gateways)
        if self.mode == "nat":
            uplink: UplinkSpec | None = make_uplink(self.nic, "nat", subnets=own)
            return Declared(Options(labels=self.labels), uplink)
        if self.mode == "none":
            return Declared(
                Options(subnets=self.subnets, labels=self.labels), make_uplink(None, "none", addresses=own)
            )
        uplink = make_uplink(self.nic, self.mode) if self.mode != "internal" else None
        options = Options(subnets=self.subnets, gateways=self.gateways, labels=self.labels)
        return Declared(options, uplink)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "uplink": self.mode,
            "nic": self.nic or None,
            "subnets": list(self.subnets),
            "gateways": list(self.gateways),
            "labels": dict(each.split("=", 1) for each in self.labels),
        }


def of_declared(name: str, declared: Declared) -> NetworkSpec:
    """The network that a fabric file declares."""
    options, uplink = declared.options, declared.uplink
    return of_parts(name, options, uplink)


def of_parts(name: str, options: Options, uplink: UplinkSpec | None) -> NetworkSpec:
    if uplink is None:
        return NetworkSpec(name, "internal", "", options.subnets, options.gateways, options.labels)
    own = uplink.own_addresses
    subnets, gateways = options.subnets, options.gateways
    if own:
        gateways = tuple(str(each.ip) for each in own)
    if uplink.mode == "nat" or (uplink.mode == "none" and not subnets):
        subnets = tuple(str(each.network) for each in own)
    return NetworkSpec(name, uplink.mode, uplink.nic, subnets, gateways, options.labels)


def make_network(
    name: object,
    mode: object = None,
    nic: object = None,
    subnets: Iterable[object] | None = None,
    gateways: Iterable[object] | None = None,
    labels: object = None,
) -> NetworkSpec:
    """A NetworkSpec from a user's words; Invalid tells which one is wrong.

    A nat network has no NIC, and one with an address of the machine no subnets, if none was named.
    """
    mode = cast(Mode, "nat" if mode is None else mode)
    if mode not in get_args(Mode):
        raise Invalid(f"the uplink must be nat, bridge, none or internal, not {mode}")
    if nic and mode in ("none", "internal"):
        raise Invalid(f"a network with the uplink {mode} uses no NIC, and {nic} is named")
    if not nic and mode == "bridge":
        raise Invalid("a bridge needs a NIC", "name one: --nic eth1")
    networks = check_subnets(subnets)
    given = check_gateways(gateways, networks)
    spec = NetworkSpec(
        check_network_name(name),
        mode,
        str(nic or ""),
        networks,
        given,
        check_pairs(labels, "labels", "a label"),
    )
    if nic:
        make_uplink(nic, mode)
    return spec if mode not in NEEDS_SUBNET else with_gateways(spec)


def with_gateways(spec: NetworkSpec) -> NetworkSpec:
    """With the first address of each subnet as the machine's where no other is named."""
    own = _own_addresses(spec.networks, spec.gateways)
    gateways = tuple(str(ipaddress.ip_interface(text).ip) for text in own)
    return NetworkSpec(spec.name, spec.mode, spec.nic, spec.subnets, gateways, spec.labels)


def check_network_name(name: object) -> str:
    if not is_name(name):
        raise Invalid(f"{name!r} is not a network's name", f"a name is {NAME_RULE}")
    if name == DEFAULT_NETWORK:
        raise Invalid("the network default is there always", "it is what vnicctl works on without --network")
    return str(name)


def _own_addresses(networks: Iterable[Network], gateways: Iterable[str]) -> list[str]:
    """For each network the gateway that is in it, or else its first address, with the prefix length."""
    named = [ipaddress.ip_address(text) for text in gateways]
    found = []
    for network in networks:
        ip = next((each for each in named if each in network), network.network_address + 1)
        found.append(f"{ip}/{network.prefixlen}")
    return found


def overlap(spec: NetworkSpec, others: Mapping[str, Iterable[Network]]) -> tuple[Network, str] | None:
    """A subnet that somebody else has in part or as a whole, and who; `others` are networks by their owners."""
    for network in spec.networks:
        for owner, theirs in others.items():
            if any(_overlap(network, each) for each in theirs):
                return network, owner
    return None


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def choose_subnets(taken: Iterable[Network]) -> tuple[str, ...]:
    """The first subnet of each family that overlaps with none of these; Invalid when there is none."""
    taken = list(taken)
    found = []
    for text, length in CHOICES:
        subnets = ipaddress.ip_network(text).subnets(new_prefix=length)
        chosen = next((each for each in subnets if not any(_overlap(each, other) for other in taken)), None)
        if chosen is None:
            raise Invalid(f"all subnets of {text} are in use", "name one: --subnet 10.88.0.0/24")
        found.append(str(chosen))
    return tuple(found)
