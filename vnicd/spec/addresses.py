"""Questions about addresses that the uplink asks: pure, on texts with and without prefix lengths."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from vnicd.errors import Invalid, Taken, VnicdError
from vnicd.spec.uplink import Network, UplinkSpec


def host(text: str) -> str:
    """An address without its prefix length."""
    return text.partition("/")[0]


def alone(texts: Iterable[str]) -> tuple[str, ...]:
    """Addresses as subnets of their own: /32 and /128."""
    return tuple(str(ipaddress.ip_network(host(text))) for text in texts)


def within(address: str, network: Network) -> bool:
    return ipaddress.ip_address(address) in network  # False also for another family


def link_local(mac: str) -> str:
    """The IPv6 address that the kernel makes of a MAC address (EUI-64)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface))


def check_uplink(
    spec: UplinkSpec,
    mac: str,
    nic_addresses: Iterable[str],
    macs: Iterable[str],
    hosts: Iterable[str],
) -> None:
    """Taken or Invalid when the machine and its partitions would be in each other's way.

    `hosts` are the partitions' addresses without prefix lengths, `macs` their MAC addresses, `mac` is that of port 0.
    """
    machine = tuple(nic_addresses)
    for error in (
        *address_conflicts(spec, machine, hosts),
        *mac_conflicts(mac, macs),
        *subnet_conflicts(spec, machine),
    ):
        raise error


def address_conflicts(
    spec: UplinkSpec, nic_addresses: Iterable[str], hosts: Iterable[str]
) -> Iterator[VnicdError]:
    """For each partition's address, without prefix length, that the machine has at its NIC or as a gateway."""
    theirs = set(hosts)
    for own in (*map(ipaddress.ip_interface, nic_addresses), *spec.own_addresses):
        if str(own.ip) in theirs:
            text = f"a partition has the address {own.ip}, which is this machine's"
            yield Taken(text, "give it another one")


def mac_conflicts(mac: str, macs: Iterable[str]) -> Iterator[VnicdError]:
    if mac in macs:
        text = f"a partition has the MAC address {mac}, which is this machine's"
        yield Taken(text, "give it another one")


def subnet_conflicts(spec: UplinkSpec, nic_addresses: Iterable[str]) -> Iterator[VnicdError]:
    yield from network_conflicts(spec, [(spec.nic, text) for text in nic_addresses])


def network_conflicts(spec: UplinkSpec, networks: Iterable[tuple[str, str]]) -> Iterator[VnicdError]:
    """For each of port 0's own subnets that overlaps with one of the machine.

    `networks` are names of interfaces, each with an address and its prefix length.
    """
    known = [(name, ipaddress.ip_interface(text)) for name, text in networks]
    for mine in spec.own_addresses:
        for name, own in known:
            if own.version == mine.version and own.network.overlaps(mine.network):
                option = "--subnet" if spec.mode == "nat" else "--address"
                text = f"the subnet {mine.network} overlaps with {own.network} of {name}"
                yield Invalid(text, f"choose another {option}")
