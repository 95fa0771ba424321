"""Which subnets are in use on this machine, by networks and by its interfaces."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

from vnicd.cli.fabrics.networks import declared, uplink_of
from vnicd.config import DEFAULT_NETWORK, Paths
from vnicd.errors import Invalid, VnicdError
from vnicd.spec.network import NEEDS_SUBNET, of_declared
from vnicd.spec.uplink import Network


def of_networks(default: Paths) -> dict[str, tuple[Network, ...]]:
    """The subnets of all networks that the machine itself has an address in."""
    found = {}
    for name in default.network_names():
        with contextlib.suppress(VnicdError):
            spec = of_declared(name, declared(default.of_network(name)))
            if spec.mode in NEEDS_SUBNET:
                found[f"the network {name}"] = spec.networks
    with contextlib.suppress(VnicdError):
        if (uplink := uplink_of(default)) is not None:
            found[f"the network {DEFAULT_NETWORK}"] = tuple(each.network for each in uplink.own_addresses)
    return found


def of_machine() -> dict[str, tuple[Network, ...]]:
    """The subnets that the machine's other interfaces are in."""
    found: dict[str, tuple[Network, ...]] = {}
    for name, text in (*_routes_ipv4(), *_addresses_ipv6()):
        network = ipaddress.ip_interface(text).network
        if network.prefixlen and not network.is_loopback and not network.is_link_local:
            found[f"interface {name}"] = (*found.get(f"interface {name}", ()), network)
    return found


def _routes_ipv4() -> Iterator[tuple[str, str]]:
    """(interface, network) of each route; the default one has the prefix length 0."""
    try:
        rows = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        name, destination, _, _, _, _, _, mask = row.split()[:8]
        ip, bits = (int.from_bytes(bytes.fromhex(text), "little") for text in (destination, mask))
        yield name, f"{socket.inet_ntoa(ip.to_bytes(4, 'big'))}/{bits.bit_count()}"


def _addresses_ipv6() -> Iterator[tuple[str, str]]:
    try:
        rows = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return
    for row in rows:
        address, _, length, _, _, name = row.split()
        yield name, f"{ipaddress.IPv6Address(bytes.fromhex(address))}/{int(length, 16)}"


def _default_ipv6() -> str:
    """The interface of the default route for IPv6; empty without one."""
    try:
        rows = [row.split() for row in Path("/proc/net/ipv6_route").read_text().splitlines()]
    except OSError:
        return ""
    return next((row[-1] for row in rows if row[:2] == ["0" * 32, "00"] and row[-1] != "lo"), "")


def default_nic() -> str:
    """The interface of the machine's default route."""
    nic = next((name for name, text in _routes_ipv4() if text.endswith("/0")), "") or _default_ipv6()
    if not nic:
        hint = "name one: --nic eth1; or choose another --uplink: none or internal"
        raise Invalid("the machine has no default route, so its NIC is not known", hint)
    return nic
