"""Port 0's interface on the machine, and routes: what leads from the machine and its partitions to each other."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vnicd.errors import Busy, Invalid, NotFound
from vnicd.kernel import tap
from vnicd.kernel.interface import (
    IFA_F_NODAD,
    Address,
    address_words,
    default_route_words,
    family_of,
    index_of,
)
from vnicd.spec.partition import Interface

TUNSETCARRIER = 0x400454E2
IFA_F_NOPREFIXROUTE = 0x200
IFF_UP = 0x1
RTNH_F_ONLINK = 0x4
RTM_F_FIB_MATCH = 0x2000
RTN_LOCAL = 2
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
TABLE_MAIN = 254

OURS = 76
"""The protocol number of routes that vnicd makes, which nobody else uses: `ip route show proto 76`."""


def make_vnic() -> tuple[int, str]:
    """A TAP named by the first free vnicdN, and its name; it goes with the last descriptor."""
    fd = tap.open_tap("vnicd%d", persist=False)  # the kernel puts in the number
    return fd, tap.name_of(fd)


def configure_vnic(
    name: str, mac: str, mtu: int, addresses: Iterable[str], routes: Iterable[str] = ()
) -> None:
    """Give port 0's interface this MAC, MTU and exactly these addresses and routes, and set it up.

    Whatever is so already is not touched. `routes` are single addresses, without prefix lengths, that are beyond the
    interface; Busy when the machine has one of them itself or has a route to it elsewhere.
    """
    index = _index(name)
    _quiet(name)
    with IPRoute(strict_check=True) as route:
        try:
            _sync_link(route, index, mac, mtu)
            _sync_addresses(route, index, [ipaddress.ip_interface(text) for text in addresses])
            _sync_routes(route, index, {ipaddress.ip_address(text) for text in routes})
        except NetlinkError as error:
            raise Invalid(f"the kernel refuses the settings of {name}: {error.args[-1]}") from error


def set_carrier(tap_fd: int, on: bool) -> None:
    """Plug the TAP's cable in or pull it."""
    fcntl.ioctl(tap_fd, TUNSETCARRIER, struct.pack("i", on))


def set_mtu(ifname: str, mtu: int) -> None:
    index = _index(ifname)
    with IPRoute() as route:
        try:
            route.link("set", index=index, mtu=mtu)
        except NetlinkError as error:
            raise Invalid(f"{ifname} can't have the MTU {mtu}: {error.args[-1]}") from error


def add_default_routes(ifname: str, gateways: Iterable[str], addresses: Iterable[str]) -> None:
    """Default routes through `ifname` by these gateways, instead of those that there may be.

    `addresses` are those of the interface; a gateway that is in no subnet of theirs is taken to be on the link.
    """
    index = _index(ifname)
    networks = [ipaddress.ip_interface(text).network for text in addresses]
    with IPRoute() as route:
        for gateway in map(ipaddress.ip_address, gateways):
            on_link = not any(gateway in network for network in networks)
            words = default_route_words(index, gateway)
            try:
                route.route("replace", flags=RTNH_F_ONLINK if on_link else 0, **words)
            except NetlinkError as error:
                raise Invalid(f"the gateway {gateway} can't be used: {error.args[-1]}") from error


def _index(name: str) -> int:
    index = index_of(name)
    if index is None:
        raise NotFound(f"there is no interface {name}")
    return index


def _quiet(name: str) -> None:
    """No duplicate address detection, as others answer for these addresses too, and no router is listened to."""
    for setting in ("accept_dad", "accept_ra", "router_solicitations"):
        path = Path(f"/proc/sys/net/ipv6/conf/{name}/{setting}")
        if path.exists() and path.read_text().strip() != "0":
            path.write_text("0")


def _sync_link(route: IPRoute, index: int, mac: str, mtu: int) -> None:
    """The link-local address is made from the MAC when the interface is set up; so it is down for a new one."""
    link = route.link("get", index=index)[0]
    if link.get_attr("IFLA_ADDRESS") != mac:
        route.link("set", index=index, state="down")
        route.link("set", index=index, address=mac)
    if link.get_attr("IFLA_MTU") != mtu:
        route.link("set", index=index, mtu=mtu)
    route.link("set", index=index, state="up")


def _sync_addresses(route: IPRoute, index: int, wanted: list[Interface]) -> None:
    """All but the link-local address that the kernel made."""
    there: set[Interface] = set()
    for each in route.get_addr(index=index):
        if each["family"] == socket.AF_INET6 and each["scope"] == SCOPE_LINK:
            continue
        text = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
        there.add(ipaddress.ip_interface(f"{text}/{each['prefixlen']}"))
    for address in there - set(wanted):
        route.addr("del", index=index, **address_words(address))
    for address in wanted:
        if address not in there:
            flags = IFA_F_NODAD if address.version == 6 else 0
            if address.network.prefixlen == address.max_prefixlen:
                flags |= IFA_F_NOPREFIXROUTE
            route.addr("replace", index=index, flags=flags, **address_words(address))


def _sync_routes(route: IPRoute, index: int, wanted: set[Address]) -> None:
    there = {
        ipaddress.ip_address(each.get_attr("RTA_DST"))
        for family in (socket.AF_INET, socket.AF_INET6)
        for each in route.route("dump", family=family, table=TABLE_MAIN, oif=index, proto=OURS)
        if each.get_attr("RTA_DST")
    }
    new = sorted(wanted - there, key=lambda address: (address.version, address))
    for address in new:
        _check_free(route, index, address)
    for address in there - wanted:
        route.route("del", index=index, **_route(index, address))
    for address in new:
        route.route("add", **_route(index, address))


def _route(index: int, address: Address) -> dict[str, Any]:
    return {
        "family": family_of(address),
        "dst": f"{address}/{address.max_prefixlen}",
        "oif": index,
        "proto": OURS,
        "table": TABLE_MAIN,
        "scope": SCOPE_LINK if address.version == 4 else SCOPE_GLOBAL,
    }


def _check_free(route: IPRoute, index: int, address: Address) -> None:
    """Busy when the machine sends what is for this very address anywhere else."""
    try:
        found = route.route("get", family=family_of(address), dst=str(address), flags=RTM_F_FIB_MATCH)[0]
    except NetlinkError as error:
        if error.code in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
            return
        raise
    if found["dst_len"] != address.max_prefixlen:
        return
    if found["type"] == RTN_LOCAL:
        raise Busy(f"{address} is an address of this machine", "give the partition another one")
    other = found.get_attr("RTA_OIF")
    if other == index:
        return
    try:
        where = socket.if_indextoname(other)
    except (OSError, TypeError):
        where = "another interface"
    raise Busy(f"this machine has a route to {address} by way of {where}", f"ip route del {address}")
