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
from vnicd.spec.addresses import link_local
from vnicd.spec.partition import Interface

TUNSETCARRIER = 0x400454E2
IFA_F_NOPREFIXROUTE = 0x200
IFF_UP = 0x1
RTNH_F_ONLINK = 0x4
RTM_F_FIB_MATCH = 0x2000
RTN_LOCAL = 2
RTPROT_KERNEL = 2
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
TABLE_MAIN = 254
METRIC_IPV6 = 256
"""Of the kernel's own routes to subnets."""
METRIC_IPV6_DEFAULT = 1024
"""Of IPv6 routes that are made without one."""

OURS = 76
"""The protocol number of routes that vnicd makes, which nobody else uses: `ip route show proto 76`."""


def make_vnic() -> tuple[int, str]:
    """A TAP named by the first free vnicdN, and its name; it goes with the last descriptor."""
    fd = tap.open_tap("vnicd%d", persist=False)  # the kernel puts in the number
    return fd, tap.name_of(fd)


def is_vnic(name: str) -> bool:
    """Whether an interface is called as port 0's of some fabric."""
    return name.startswith("vnicd") and name[5:].isdecimal()


def configure_vnic(
    name: str, mac: str, mtu: int, addresses: Iterable[str], routes: Iterable[str] = ()
) -> list[str]:
    """Give port 0's interface this MAC, MTU and exactly these addresses and routes, and set it up.

    What is so already is not touched; what it lacked is told in the words of items(). `routes` are single addresses,
    without prefix lengths, that are beyond the interface; Busy when the machine has one of them itself or has a route
    to it elsewhere.
    """
    index = _index(name)
    own = [ipaddress.ip_interface(text) for text in addresses]
    _quiet(name)
    with IPRoute(strict_check=True) as route:
        try:
            lacked = [*_sync_link(route, name, mac, mtu), *_sync_addresses(route, index, mac, own)]
            lacked += _sync_subnets(route, index, own)
            return lacked + _sync_routes(route, index, {ipaddress.ip_address(text) for text in routes})
        except NetlinkError as error:
            raise Invalid(f"the kernel refuses the settings of {name}: {error.args[-1]}") from error


def items(name: str, addresses: Iterable[str], routes: Iterable[str]) -> list[str]:
    """All that configure_vnic() may tell as lacking."""
    own = [ipaddress.ip_interface(text) for text in addresses]
    subnets = [str(each.network) for each in own if _has_subnet(each)]
    return [
        _free_item(name),
        _up_item(name),
        *(_address_item(each) for each in own),
        *(_route_item(each) for each in (*subnets, *routes)),
    ]


def _free_item(name: str) -> str:
    return f"{name} outside of bridges"


def _up_item(name: str) -> str:
    return f"{name} set up"


def _address_item(address: Interface) -> str:
    return f"address {address}"


def _route_item(target: str) -> str:
    return f"route to {target}"


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
    """Default routes through `ifname` by these gateways, instead of those that it may have.

    A default route through another interface stays, and goes first: a container may be in several networks, and keeps
    a way out when it leaves one of them. `addresses` are those of the interface; a gateway that is in no subnet of
    theirs is taken to be on the link.
    """
    if not (wanted := list(gateways)):
        return
    index = _index(ifname)
    networks = [ipaddress.ip_interface(text).network for text in addresses]
    with IPRoute() as route:
        for gateway in map(ipaddress.ip_address, wanted):
            on_link = not any(gateway in network for network in networks)
            words = default_route_words(index, gateway)
            try:
                _add_default_route(route, {**words, "flags": RTNH_F_ONLINK if on_link else 0})
            except NetlinkError as error:
                raise Invalid(f"the gateway {gateway} can't be used: {error.args[-1]}") from error


def _add_default_route(route: IPRoute, words: dict[str, Any]) -> None:
    try:
        route.route("add", **words)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
        usual = 0 if words["family"] == socket.AF_INET else METRIC_IPV6_DEFAULT
        there = route.route("dump", family=words["family"], table=TABLE_MAIN, oif=words["oif"])
        is_own = any(each["dst_len"] == 0 and (each.get_attr("RTA_PRIORITY") or 0) == usual for each in there)
        more = {} if is_own else {"priority": usual + words["oif"]}  # which no other interface has
        route.route("replace", **words, **more)


def add_routes(ifname: str, routes: Iterable[str]) -> None:
    """These routes through `ifname`: NETWORK, or NETWORK via GATEWAY."""
    if not (wanted := list(routes)):
        return
    with IPRoute() as route:
        for text in wanted:
            try:
                route.route("replace", **route_words(_index(ifname), text))
            except NetlinkError as error:
                raise Invalid(f"the route {text} can't be used: {error.args[-1]}") from error


def route_words(index: int | None, text: str) -> dict[str, Any]:
    """What netlink calls a route through the interface with this index."""
    target, _, gateway = text.partition(" via ")
    network = ipaddress.ip_network(target)
    words: dict[str, Any] = {"family": family_of(network.network_address), "dst": target, "oif": index}
    if gateway:
        return {**words, "gateway": gateway, "flags": RTNH_F_ONLINK}
    return {**words, "scope": SCOPE_LINK} if network.version == 4 else words


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


def _sync_link(route: IPRoute, name: str, mac: str, mtu: int) -> list[str]:
    """What it lacked. The link-local address is made from the MAC when it is set up; so it is down for a new one.

    A bridge, bond or VRF that it is made part of would get all that comes in by it.
    """
    index = _index(name)
    link = route.link("get", index=index)[0]
    lacked = []
    if link.get_attr("IFLA_MASTER"):
        route.link("set", index=index, master=0)
        lacked.append(_free_item(name))
    if link.get_attr("IFLA_ADDRESS") != mac:
        route.link("set", index=index, state="down")
        route.link("set", index=index, address=mac)
    if link.get_attr("IFLA_MTU") != mtu:
        route.link("set", index=index, mtu=mtu)
    route.link("set", index=index, state="up")
    return lacked if link["flags"] & IFF_UP else [*lacked, _up_item(name)]


def _sync_addresses(route: IPRoute, index: int, mac: str, wanted: list[Interface]) -> list[str]:
    """A link-local address stays, whatever it is; one is made if there is none."""
    there: set[Interface] = set()
    has_link_local = False
    for each in route.get_addr(index=index):
        if each["family"] == socket.AF_INET6 and each["scope"] == SCOPE_LINK:
            has_link_local = True
            continue
        text = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
        there.add(ipaddress.ip_interface(f"{text}/{each['prefixlen']}"))
    for address in there - set(wanted):
        route.addr("del", index=index, **address_words(address))
    new = [each for each in wanted if each not in there]
    for address in [*new, *([] if has_link_local else _link_local(mac, wanted))]:
        flags = IFA_F_NODAD if address.version == 6 else 0
        if address.network.prefixlen == address.max_prefixlen:
            flags |= IFA_F_NOPREFIXROUTE
        route.addr("replace", index=index, flags=flags, **address_words(address))
    return [_address_item(each) for each in new]


def _link_local(mac: str, wanted: list[Interface]) -> list[Interface]:
    """What the kernel makes when the interface is set up, if IPv6 is used at all."""
    if not any(each.version == 6 for each in wanted):
        return []
    return [ipaddress.ip_interface(f"{link_local(mac)}/64")]


def _has_subnet(address: Interface) -> bool:
    return address.network.prefixlen != address.max_prefixlen and not address.is_link_local


def _sync_subnets(route: IPRoute, index: int, wanted: list[Interface]) -> list[str]:
    """The routes to the subnets of these addresses, which the kernel makes with them, but never again by itself."""
    subnets = {each.network: each for each in wanted if _has_subnet(each)}
    there = {
        f"{each.get_attr('RTA_DST')}/{each['dst_len']}"
        for family in (socket.AF_INET, socket.AF_INET6)
        for each in route.route("dump", family=family, table=TABLE_MAIN, oif=index)
    }
    lacking = {subnet: own for subnet, own in subnets.items() if str(subnet) not in there}
    for subnet, own in lacking.items():
        more = (
            {"prefsrc": str(own.ip), "scope": SCOPE_LINK} if own.version == 4 else {"priority": METRIC_IPV6}
        )
        words = {"family": family_of(own.ip), "dst": str(subnet), "oif": index, "proto": RTPROT_KERNEL}
        route.route("replace", table=TABLE_MAIN, **words, **more)
    return [_route_item(str(subnet)) for subnet in lacking]


def _sync_routes(route: IPRoute, index: int, wanted: set[Address]) -> list[str]:
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
    return [_route_item(str(address)) for address in new]


def _route(index: int, address: Address) -> dict[str, Any]:
    return {
        "family": family_of(address),
        "dst": f"{address}/{address.max_prefixlen}",
        "oif": index,
        "proto": OURS,
        "table": TABLE_MAIN,
        "scope": SCOPE_LINK if address.version == 4 else SCOPE_GLOBAL,
    }


def elsewhere(ifname: str, addresses: Iterable[str]) -> dict[str, Busy]:
    """Those of these addresses, without prefix lengths, that the machine has itself or reaches by another interface.

    `ifname` is port 0's interface; an empty text while there is none.
    """
    index = index_of(ifname) if ifname else None
    found = {}
    with IPRoute(strict_check=True) as route:
        for text in addresses:
            try:
                _check_free(route, index or 0, ipaddress.ip_address(text))
            except Busy as error:
                found[text] = error
    return found


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
