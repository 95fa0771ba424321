"""What a partition is, and the checks that a user's words for it must pass."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vnicd.errors import Invalid

MTU_MIN, MTU_MAX, MTU_DEFAULT = 576, 65000, 1500
MTU_MIN_IPV6 = 1280
MAX_ADDRESSES = 16
"""Addresses of one partition; the directory has room for as many (VN_MAX_ADDRESSES in cext/layout.h)."""

NAME_RULE = "1 to 32 letters, digits, dots, dashes or underscores, beginning with a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_IFNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_RESERVED_NAMES = {"host"}
_RESERVED_IFNAMES = {"lo", "all", "default"}

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True)
class PartitionSpec:
    """A partition as it was asked for: all of it is checked and normal."""

    name: str
    addresses: tuple[str, ...] = ()
    """Normal CIDR texts, such as 10.77.0.1/24."""
    mac: str = ""
    mtu: int = MTU_DEFAULT
    ifname: str = "vnic0"
    netns: str = ""
    """Path of an existing namespace that it is attached to; empty when vnicd makes one named `name`."""

    @property
    def netns_path(self) -> str:
        return self.netns or f"/run/netns/{self.name}"

    @property
    def owns_netns(self) -> bool:
        return not self.netns

    def to_json(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "addresses": list(self.addresses),
            "mac": self.mac or None,
            "netns": self.netns or None,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PartitionSpec:
        return make_partition(
            name=data["name"],
            addresses=data.get("addresses", ()),
            mac=data.get("mac"),
            mtu=data.get("mtu"),
            ifname=data.get("ifname"),
            netns=data.get("netns"),
        )


def check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Invalid(f"{name!r} is not a partition name", f"a name is {NAME_RULE}")
    if name in _RESERVED_NAMES:
        raise Invalid(f"the name {name} is reserved for port 0")
    return name


def parse_address(text: object) -> Interface:
    """An address that a partition can carry; Invalid for networks, loopback, multicast and the like."""
    if not isinstance(text, str):
        raise Invalid(f"{text!r} is not an address")
    if "/" not in text:
        raise Invalid(f"the address {text} has no prefix length", f"write for example {text}/24")
    try:
        address = ipaddress.ip_interface(text)
    except ValueError as error:
        raise Invalid(f"{text} is not an IPv4 or IPv6 address with a prefix length") from error
    if address.version == 6 and "%" in text:
        raise Invalid(f"the address {text} names a scope", "leave out the part after the %")
    ip, net = address.ip, address.network
    if ip.is_multicast or ip.is_unspecified or ip.is_loopback or str(ip) == "255.255.255.255":
        raise Invalid(f"{text} is not an address that an interface can have")
    if address.version == 6 and address.ip.ipv4_mapped is not None:
        raise Invalid(f"{text} stands for an IPv4 address", f"write {address.ip.ipv4_mapped}/24, for example")
    if address.version == 4 and net.prefixlen < 31 and ip in (net.network_address, net.broadcast_address):
        raise Invalid(f"{text} is the network or broadcast address of {net}", "choose one between them")
    return address


def check_mac(text: object) -> str:
    mac = text.lower().replace("-", ":") if isinstance(text, str) else ""
    if not _MAC.fullmatch(mac):
        raise Invalid(f"{text!r} is not a MAC address", "write it as 02:00:00:00:00:01")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise Invalid(f"the MAC address {mac} is not one of a single station")
    return mac


def check_mtu(mtu: object, has_ipv6: bool = False) -> int:
    low = MTU_MIN_IPV6 if has_ipv6 else MTU_MIN
    if not isinstance(mtu, int) or isinstance(mtu, bool) or not low <= mtu <= MTU_MAX:
        why = " with IPv6 addresses" if has_ipv6 else ""
        raise Invalid(f"the MTU must be {low} to {MTU_MAX}{why}, not {mtu}")
    return mtu


def check_ifname(name: object) -> str:
    if not isinstance(name, str) or not _IFNAME.fullmatch(name) or name in _RESERVED_IFNAMES:
        raise Invalid(f"{name!r} is not an interface name", "use up to 15 letters, digits, dots or dashes")
    return name


def check_netns(text: object) -> str:
    """A namespace's path; a bare name stands for the one in /run/netns."""
    if not isinstance(text, str) or not text.isprintable() or text in ("", ".", "..") or len(text) > 1024:
        raise Invalid(f"{text!r} is not the name or path of a namespace")
    if "/" not in text:
        return f"/run/netns/{text}"
    if not text.startswith("/"):
        raise Invalid(f"the namespace path {text} is not absolute")
    return text


def make_partition(
    name: object,
    addresses: Iterable[object] | None = None,
    mac: object = None,
    mtu: object = None,
    ifname: object = None,
    netns: object = None,
) -> PartitionSpec:
    """A PartitionSpec from a user's words; Invalid tells which one is wrong."""
    if addresses is not None and not isinstance(addresses, list | tuple):
        raise Invalid("addresses must be a list")
    parsed = [parse_address(text) for text in addresses or ()]
    if len(parsed) > MAX_ADDRESSES:
        raise Invalid(f"a partition has at most {MAX_ADDRESSES} addresses, not {len(parsed)}")
    if len({address.ip for address in parsed}) != len(parsed):
        raise Invalid("an address is given twice")
    has_ipv6 = any(address.version == 6 for address in parsed)
    return PartitionSpec(
        name=check_name(name),
        addresses=tuple(str(address) for address in parsed),
        mac=check_mac(mac) if mac is not None else "",
        mtu=check_mtu(MTU_DEFAULT if mtu is None else mtu, has_ipv6),
        ifname=check_ifname("vnic0" if ifname is None else ifname),
        netns=check_netns(netns) if netns is not None else "",
    )


def default_mac(fabric: str, name: str) -> str:
    """The MAC that partition `name` of `fabric` has if none is given: locally administered, always the same."""
    import hashlib  # costs vnicctl 3 ms at every start, and only the hosting daemon needs it

    digest = hashlib.blake2s(os.fsencode(f"{fabric}\0{name}"), digest_size=5).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest))
