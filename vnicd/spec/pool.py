"""The addresses that a network gives to its partitions: from which subnets, and where default routes lead to; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vnicd.config import Options
from vnicd.errors import Invalid
from vnicd.spec.partition import parse_address
from vnicd.spec.uplink import Network, UplinkSpec, check_gateway


@dataclass(frozen=True)
class Pool:
    """One subnet of a family at most; without any, partitions have the addresses that they are given by hand."""

    networks: tuple[Network, ...] = ()
    gateways: tuple[str, ...] = ()
    """Where default routes lead to."""
    reserved: frozenset[str] = frozenset()
    """Addresses that are never given to a partition."""

    def free(self, taken: Iterable[str]) -> tuple[str, ...]:
        """The lowest address of each subnet that nobody has; Invalid when one is used up.

        `taken` are addresses with or without prefix lengths.
        """
        used = {ipaddress.ip_interface(text).ip for text in (*taken, *self.reserved)}
        return tuple(_free_address(network, used) for network in self.networks)

    def with_length(self, text: object) -> object:
        """An address without a prefix length, with that of the subnet it is in; anything else as it is."""
        try:
            ip = ipaddress.ip_address(text) if isinstance(text, str) else None
        except ValueError:
            return text
        lengths = [network.prefixlen for network in self.networks if ip is not None and ip in network]
        return f"{ip}/{lengths[0]}" if lengths else text

    def routes(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """The gateway of each family in which one of a partition's addresses is of the subnet."""
        own = [ipaddress.ip_interface(text).ip for text in addresses]
        within = [network for network in self.networks if any(ip in network for ip in own)]
        return tuple(
            text for text in self.gateways if any(ipaddress.ip_address(text) in network for network in within)
        )

    def suitable(self, addresses: Iterable[str], taken: Iterable[str]) -> tuple[str, ...]:
        """Of these addresses one for each subnet that could have been given."""
        used = {ipaddress.ip_interface(text).ip for text in (*taken, *self.reserved)}
        found: list[str] = []
        for network in self.networks:
            fitting = (
                text
                for text in addresses
                if ipaddress.ip_interface(text).network == network
                and ipaddress.ip_interface(text).ip not in used
            )
            found += list(fitting)[:1]
        return tuple(found)


def check_subnets(words: object) -> tuple[str, ...]:
    """Networks in their normal form, at most one of each family; Invalid tells which one is wrong."""
    if words is not None and not isinstance(words, list | tuple):
        raise Invalid("subnets must be a list")
    found: dict[int, str] = {}
    for text in words or ():
        network = check_gateway(text).network
        if network.version in found:
            raise Invalid(f"there can be one IPv4 and one IPv6 subnet, and {text} is another")
        found[network.version] = str(network)
    return tuple(found[version] for version in (4, 6) if version in found)


def check_gateways(words: object, subnets: Iterable[str]) -> tuple[str, ...]:
    """Addresses without prefix length, one for a subnet at most; Invalid tells which one is wrong."""
    if words is not None and not isinstance(words, list | tuple):
        raise Invalid("gateways must be a list")
    networks = [ipaddress.ip_network(text) for text in subnets]
    found: dict[int, str] = {}
    for text in words or ():
        try:
            gateway = ipaddress.ip_address(text) if isinstance(text, str) and "%" not in text else None
        except ValueError:
            gateway = None
        if gateway is None:
            hint = "write it without prefix length: 10.88.0.1"
            raise Invalid(f"{text} is not the address of a gateway", hint)
        network = next((each for each in networks if gateway in each), None)
        if network is None:
            raise Invalid(f"the gateway {gateway} is in no subnet of the network")
        parse_address(f"{gateway}/{network.prefixlen}")
        if gateway.version in found:
            raise Invalid(f"there can be one IPv{gateway.version} gateway, and {text} is another")
        found[gateway.version] = str(gateway)
    return tuple(found[version] for version in sorted(found))


def pool_of(uplink: UplinkSpec | None, options: Options) -> Pool:
    """That of a fabric: in nat mode the uplink's subnets, else those of its network."""
    if uplink is not None and uplink.mode == "nat":
        gateways = tuple(str(each.ip) for each in uplink.gateways)
        return Pool(tuple(each.network for each in uplink.gateways), gateways, frozenset(gateways))
    own = [str(each.ip) for each in uplink.own_addresses] if uplink is not None else []
    networks = tuple(ipaddress.ip_network(text) for text in options.subnets)
    return Pool(networks, options.gateways, frozenset({*options.gateways, *own}))


def without_address(
    uplink: UplinkSpec, partitions: Mapping[str, Iterable[str]]
) -> dict[str, tuple[str, ...]]:
    """The partitions that have no address of nat mode's subnets, each with free ones that it could be given.

    `partitions` are the addresses of each by its name.
    """
    if uplink.mode != "nat":
        return {}
    pool = pool_of(uplink, Options())
    taken = [text for addresses in partitions.values() for text in addresses]
    found: dict[str, tuple[str, ...]] = {}
    for name, addresses in partitions.items():
        own = [ipaddress.ip_interface(text).ip for text in addresses]
        if any(ip in network for ip in own for network in pool.networks):
            continue
        try:
            found[name] = pool.free(taken)
        except Invalid:  # there are none
            found[name] = ()
        taken += found[name]
    return found


def _free_address(network: Network, used: set[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> str:
    count = network.num_addresses - (1 if network.version == 4 else 0)  # without the broadcast address
    for offset in range(1, min(count, len(used) + 2)):
        ip = network.network_address + offset
        if ip not in used:
            return f"{ip}/{network.prefixlen}"
    raise Invalid(f"the subnet {network} has no free address left", "choose a larger --subnet")
