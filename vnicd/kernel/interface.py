"""Interfaces by netlink: MAC, MTU, addresses, state, deletion; always in the calling thread's namespace."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vnicd.errors import Invalid
from vnicd.spec.partition import Interface

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

IFA_F_NODAD = 0x02
IFNAMSIZ, SIOCGIFINDEX = 16, 0x8933


def index_of(ifname: str) -> int | None:
    """The index of an interface, None when there is none of that name; OSError when there is no descriptor to ask with.

    Python's own if_nametoindex() does not tell the two apart.
    """
    name = os.fsencode(ifname)
    if not 0 < len(name) < IFNAMSIZ:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            found = fcntl.ioctl(sock, SIOCGIFINDEX, struct.pack("16s24x", name))
        except OSError:
            return None
    return int(struct.unpack_from("=i", found, IFNAMSIZ)[0])


def names() -> set[str]:
    """Those of all interfaces."""
    return {name for _, name in socket.if_nameindex()}


def configure(ifname: str, mac: str, mtu: int, addresses: tuple[str, ...], loopback: bool) -> None:
    """Give an interface its MAC, MTU and addresses and set it up, and the loopback as well if it is ours.

    What is so already is not set again: a kernel that is told a MAC forgets all neighbours, those that the user
    entered for good as well, and datagrams that wait for a neighbour may be overtaken by later ones.

    IPv6 addresses skip duplicate address detection: the hosting daemon has made sure that they are unique,
    and so they can be used at once.
    """
    disable_detection(ifname)
    if any(":" in text for text in addresses):
        enable_ipv6(ifname)
    with IPRoute() as route:
        index = index_of(ifname)
        try:
            if loopback:
                route.link("set", index=1, state="up")
            link = route.link("get", index=index)[0]
            if link.get_attr("IFLA_ADDRESS") != mac:
                route.link("set", index=index, address=mac)
            if link.get_attr("IFLA_MTU") != mtu:
                route.link("set", index=index, mtu=mtu)
            route.link("set", index=index, state="up")
            for text in addresses:
                add_address(route, index, text)
        except NetlinkError as error:
            raise Invalid(f"the kernel refuses the settings of {ifname}: {error.args[-1]}") from error


def prepare(ifname: str, mac: str, mtu: int) -> None:
    """Give an interface its MAC and MTU alone: somebody else moves it, names it, gives it addresses and sets it up."""
    with IPRoute() as route:
        try:
            route.link("set", index=index_of(ifname), address=mac, mtu=mtu)
        except NetlinkError as error:
            raise Invalid(f"the kernel refuses the settings of {ifname}: {error.args[-1]}") from error


def set_mac(index: int, mac: str) -> None:
    with IPRoute() as route:
        try:
            route.link("set", index=index, address=mac)
        except NetlinkError as error:
            raise Invalid(f"the interface can't have the MAC {mac}: {error.args[-1]}") from error


def set_alias(ifname: str, text: str) -> None:
    """Put a text on an interface, which `ip link` shows and which lives as long as the interface."""
    with IPRoute() as route:
        try:
            route.link("set", index=index_of(ifname), ifalias=text)
        except NetlinkError as error:
            raise Invalid(f"the kernel refuses the settings of {ifname}: {error.args[-1]}") from error


def with_alias(text: str) -> list[str]:
    """The interfaces that this text was put on."""
    with IPRoute() as route:
        links = route.get_links()
    return [link.get_attr("IFLA_IFNAME") for link in links if link.get_attr("IFLA_IFALIAS") == text]


def add_address(route: IPRoute, index: int | None, text: str) -> None:
    address = ipaddress.ip_interface(text)
    flags = {"flags": IFA_F_NODAD} if address.version == 6 else {}
    broadcast = {}
    if address.version == 4 and address.network.prefixlen < 31:
        broadcast = {"broadcast": str(address.network.broadcast_address)}
    route.addr(
        "replace",
        index=index,
        **address_words(address),
        **flags,
        **broadcast,
    )


def has_address(index: int, text: str) -> bool:
    """Whether the interface with this index has this IPv6 address."""
    wanted = ipaddress.ip_interface(text)
    with IPRoute() as route:
        found = route.get_addr(index=index, family=socket.AF_INET6)
    return any(
        ipaddress.ip_address(each.get_attr("IFA_ADDRESS")) == wanted.ip
        and each["prefixlen"] == wanted.network.prefixlen
        for each in found
    )


def family_of(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def address_words(address: Interface) -> dict[str, Any]:
    """What netlink calls an address of an interface."""
    return {
        "family": family_of(address.ip),
        "address": str(address.ip),
        "prefixlen": address.network.prefixlen,
    }


def default_route_words(index: int | None, gateway: Address) -> dict[str, Any]:
    """What netlink calls the default route through the interface with this index, by this gateway."""
    dst = "0.0.0.0/0" if gateway.version == 4 else "::/0"
    return {"family": family_of(gateway), "dst": dst, "gateway": str(gateway), "oif": index}


def disable_detection(ifname: str) -> None:
    """No duplicate address detection for the link-local address, which follows from a unique MAC."""
    path = Path(f"/proc/sys/net/ipv6/conf/{ifname}/accept_dad")
    if path.exists():
        path.write_text("0")


def enable_ipv6(ifname: str) -> None:
    """Container runtimes switch it off for all interfaces but those that they have given IPv6 addresses."""
    path = Path(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6")
    if path.exists():
        path.write_text("0")


def set_autoconf(ifname: str, on: bool) -> None:
    """Whether the interface makes itself IPv6 addresses of advertised prefixes."""
    path = Path(f"/proc/sys/net/ipv6/conf/{ifname}/autoconf")
    if path.exists():
        path.write_text(str(int(on)))


def delete(ifname: str) -> None:
    """Delete an interface; no error when it is gone already."""
    index = index_of(ifname)
    if index is None:
        return
    with IPRoute() as route:
        try:
            route.link("del", index=index)
        except NetlinkError:
            if index_of(ifname) is not None:
                raise
