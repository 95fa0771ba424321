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
"""Addresses of one partition; the directory has room for as many (VN_MAX_ADDRESSES in cext/abi/link_layout.h)."""

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
    mtu: int = 0
    """0 for that of the uplink's NIC, or MTU_DEFAULT while there is none."""
    ifname: str = "vnic0"
    netns: str = ""
    """Path of an existing namespace that it is attached to; empty when vnicd makes one named `name`."""
    gateways: tuple[str, ...] = ()
    """Addresses that its default routes lead to, at most one of each family."""
    rate: int = 0
    """Most bits per second to the uplink, and from it unless `rate_in` says otherwise; 0 for no limit."""
    rate_in: int = 0
    """Most bits per second from the uplink; 0 for as many as `rate`."""
    owner: tuple[str, ...] = ()
    """KEY=VALUE of whoever manages it, as a container runtime does; a file leaves it alone then."""
    handover: bool = False
    """Its interface is made bare in `netns`, for somebody else who moves it to its place, names it and gives it its
    addresses, as Docker does. What it has there becomes the `netns`, `ifname` and `gateways` of the partition."""
    routes: tuple[str, ...] = ()
    """More routes through its interface, of one with an owner: 10.0.0.0/8 via 10.77.0.9, or without the gateway."""
    aliases: tuple[str, ...] = ()
    """Further names that it is found by, of one with an owner; several partitions may have the same."""

    @property
    def netns_path(self) -> str:
        return self.netns or f"/run/netns/{self.name}"

    @property
    def limits(self) -> tuple[int, int]:
        """Most bits per second to the uplink, and from it; 0 for no limit."""
        return self.rate, self.rate_in or self.rate

    @property
    def owns_netns(self) -> bool:
        return not self.netns

    def is_of(self, owner: Iterable[str]) -> bool:
        """Whether all of these words are its owner's."""
        return set(owner) <= set(self.owner)

    def to_json(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "addresses": list(self.addresses),
            "gateways": list(self.gateways),
            "mac": self.mac or None,
            "mtu": self.mtu or None,
            "netns": self.netns or None,
            "rate": self.rate or None,
            "rate_in": self.rate_in or None,
            "owner": dict(each.split("=", 1) for each in self.owner),
            "routes": list(self.routes),
            "aliases": list(self.aliases),
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
            gateways=data.get("gateways"),
            rate=data.get("rate"),
            rate_in=data.get("rate_in"),
            owner=data.get("owner"),
            handover=data.get("handover"),
            routes=data.get("routes"),
            aliases=data.get("aliases"),
        )

    def effective_mtu(self, nic_mtu: int | None) -> int:
        """The MTU that its interface has beside an uplink whose NIC has `nic_mtu`, None without one."""
        low = MTU_MIN_IPV6 if any(":" in address for address in self.addresses) else MTU_MIN
        return self.mtu or min(MTU_MAX, max(low, nic_mtu or MTU_DEFAULT))


def is_name(name: object) -> bool:
    """Whether a partition can have this name, as far as its letters go."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def check_name(name: object) -> str:
    if not isinstance(name, str) or not is_name(name):
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
    if not isinstance(mtu, int) or isinstance(mtu, bool):
        raise Invalid(f"the MTU must be a number, not {mtu!r}")
    if not low <= mtu <= MTU_MAX:
        why = " with IPv6 addresses" if has_ipv6 else ""
        raise Invalid(f"the MTU must be {low} to {MTU_MAX}{why}, not {mtu}")
    return mtu


def is_ifname(name: str) -> bool:
    """Whether a partition's interface can have this name."""
    return name not in _RESERVED_IFNAMES and _IFNAME.fullmatch(name) is not None


def check_ifname(name: object) -> str:
    if isinstance(name, str) and name in _RESERVED_IFNAMES:
        raise Invalid(
            f"{name!r} is not an interface name that is free: every namespace has it", "use another"
        )
    if not isinstance(name, str) or not _IFNAME.fullmatch(name):
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


def check_gateways(words: Iterable[object] | None, addresses: list[Interface]) -> tuple[str, ...]:
    """Gateways that the partition can reach by one of its own addresses."""
    if words is not None and not isinstance(words, list | tuple):
        raise Invalid("gateways must be a list")
    found: dict[int, str] = {}
    for text in words or ():
        try:
            gateway = ipaddress.ip_address(text) if isinstance(text, str) else None
        except ValueError:
            gateway = None
        if gateway is None or "%" in str(text):
            raise Invalid(
                f"{text} is not the address of a gateway", "write it without prefix length: 10.0.0.1"
            )
        _check_station(gateway, addresses)
        if gateway.version in found:
            raise Invalid(f"there can be one IPv{gateway.version} gateway, and {text} is another")
        if any(gateway == address.ip for address in addresses):
            raise Invalid(f"the gateway {gateway} is the partition's own address")
        if not _reaches(addresses, gateway):
            raise Invalid(
                f"the gateway {gateway} is in no subnet of the partition's addresses",
                "give it an address there with: --address",
            )
        found[gateway.version] = str(gateway)
    return tuple(found[version] for version in sorted(found))


def _check_station(
    gateway: ipaddress.IPv4Address | ipaddress.IPv6Address, addresses: list[Interface]
) -> None:
    """Invalid when a gateway's address can be no station's, in general or in the partition's subnets."""
    lengths = [address.network.prefixlen for address in addresses if gateway in address.network]
    for length in (gateway.max_prefixlen, *lengths):
        try:
            parse_address(f"{gateway}/{length}")
        except Invalid as error:
            raise Invalid(f"{gateway} can't be a gateway: {error.message}") from error


def _reaches(addresses: list[Interface], gateway: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a gateway is on the link: in a subnet, or beside an address that is a subnet by itself."""
    same = [address.network for address in addresses if address.version == gateway.version]
    return (
        any(gateway in network or network.prefixlen == network.max_prefixlen for network in same)
        # Every interface has an IPv6 address of that kind.
        or (gateway.is_link_local and (bool(same) or gateway.version == 6))
    )


MAX_ROUTES = 64


def check_routes(words: Iterable[object] | None, addresses: list[Interface]) -> tuple[str, ...]:
    """Routes as "NETWORK" or "NETWORK via GATEWAY", whose gateways the partition can reach; each once."""
    if words is not None and not isinstance(words, list | tuple):
        raise Invalid("routes must be a list")
    found: dict[str, None] = {}
    for text in words or ():
        target, via, gateway = text.partition(" via ") if isinstance(text, str) else ("", "", "")
        try:
            network = ipaddress.ip_network(target, strict=False)
        except ValueError as error:
            hint = "write it as 10.0.0.0/8 via 10.77.0.9"
            raise Invalid(f"{text!r} is not a route", hint) from error
        if network.prefixlen == 0:
            raise Invalid(f"{target} is the default route", "name its gateway as one of the gateways")
        (hop,) = check_gateways([gateway], addresses) if via else ("",)
        if hop and ipaddress.ip_address(hop).version != network.version:
            raise Invalid(f"the route {text} has a gateway of another IP version")
        found[f"{network} via {hop}" if hop else str(network)] = None
    if len(found) > MAX_ROUTES:
        raise Invalid(f"a partition has at most {MAX_ROUTES} routes, not {len(found)}")
    return tuple(found)


_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MAX_ALIASES = 16


def check_aliases(words: Iterable[object] | None) -> tuple[str, ...]:
    """Further names, each once."""
    if words is not None and not isinstance(words, list | tuple):
        raise Invalid("aliases must be a list")
    for text in words or ():
        if not isinstance(text, str) or not _ALIAS.fullmatch(text):
            raise Invalid(f"{text!r} is not a name that a partition can be found by")
    found = tuple(dict.fromkeys(map(str, words or ())))
    if len(found) > MAX_ALIASES:
        raise Invalid(f"a partition has at most {MAX_ALIASES} aliases, not {len(found)}")
    return found


_OWNER_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
MAX_OWNER_WORDS, MAX_OWNER_VALUE = 16, 255


def check_owner(words: object) -> tuple[str, ...]:
    """Who manages a partition, in the order of the keys."""
    return check_pairs(words, "owner", "an owner")


def check_pairs(words: object, name: str, what: str) -> tuple[str, ...]:
    """KEY=VALUE words of a list, or a table of them, in the order of their keys; `name` and `what` are for errors."""
    if isinstance(words, dict):
        words = [f"{key}={value}" for key, value in words.items()]
    if words is not None and not isinstance(words, list | tuple):
        raise Invalid(f"{name} must be a table of texts")
    found: dict[str, str] = {}
    for text in words or ():
        key, sign, value = text.partition("=") if isinstance(text, str) else ("", "", "")
        if not sign or not _OWNER_KEY.fullmatch(key) or not value.isprintable():
            raise Invalid(f"{text!r} does not name {what}", "write KEY=VALUE, as app=shop")
        if len(value) > MAX_OWNER_VALUE:
            raise Invalid(f"the value of {what}'s {key} is longer than {MAX_OWNER_VALUE} characters")
        if key in found:
            raise Invalid(f"{what}'s {key} is given twice")
        found[key] = value
    if len(found) > MAX_OWNER_WORDS:
        raise Invalid(f"{what} has at most {MAX_OWNER_WORDS} words, not {len(found)}")
    return tuple(f"{key}={found[key]}" for key in sorted(found))


_RATE = re.compile(r"([0-9]{1,13}(?:\.[0-9]{1,12})?)\s*([kmgt]?)(?:bit(?:/s|ps)?)?", re.IGNORECASE)
_RATE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
RATE_MIN, RATE_MAX = 10**5, 10**12


def check_rate(rate: object) -> int:
    """Bits per second of a number, or of a text as tc takes it: 100mbit, 1.5gbit; 0 for no limit."""
    value = rate
    if isinstance(rate, str):
        match = _RATE.fullmatch(rate.strip())
        if match is None:
            raise Invalid(f"{rate!r} is not a rate", "write it as 100mbit or 1.5gbit")
        amount = float(match[1])
        # Less than one bit is too little, and not no limit.
        value = round(amount * _RATE_UNITS[match[2].lower()]) or int(amount > 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid(f"{rate!r} is not a rate")
    if value and not RATE_MIN <= value <= RATE_MAX:
        raise Invalid(f"the rate must be 100kbit to 1tbit, not {rate}")
    return value


def check_limit(rate: object) -> None:
    """Invalid when what is to be a limit says that there is none, or is wrong; None is nothing said."""
    if rate is not None and check_rate(rate) == 0:
        raise Invalid(f"the rate must be 100kbit to 1tbit, not {rate}", "leave it out for no limit")


def make_partition(
    name: object,
    addresses: Iterable[object] | None = None,
    mac: object = None,
    mtu: object = None,
    ifname: object = None,
    netns: object = None,
    gateways: Iterable[object] | None = None,
    rate: object = None,
    rate_in: object = None,
    owner: object = None,
    handover: object = None,
    routes: Iterable[object] | None = None,
    aliases: Iterable[object] | None = None,
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
    if handover not in (None, True, False):
        raise Invalid(f"handover must be true or false, not {handover!r}")
    if handover and netns is None:
        raise Invalid("an interface can be handed over only from a namespace that is named")
    if (routes or aliases) and not owner:
        raise Invalid("routes and aliases are for partitions with an owner", "a file can't declare them")
    return PartitionSpec(
        name=check_name(name),
        addresses=tuple(str(address) for address in parsed),
        mac=check_mac(mac) if mac is not None else "",
        mtu=check_mtu(mtu, has_ipv6) if mtu is not None else 0,
        ifname=check_ifname("vnic0" if ifname is None else ifname),
        netns=check_netns(netns) if netns is not None else "",
        gateways=check_gateways(gateways, parsed),
        rate=check_rate(rate) if rate is not None else 0,
        rate_in=check_rate(rate_in) if rate_in is not None else 0,
        owner=check_owner(owner),
        handover=bool(handover),
        routes=check_routes(routes, parsed),
        aliases=check_aliases(aliases),
    )


def default_mac(fabric: str, name: str, seed: str = "") -> str:
    """The MAC that partition `name` of `fabric` has if none is given: locally administered, always the same.

    With the machine's seed it differs from that on another machine.
    """
    import hashlib  # costs vnicctl 3 ms at every start, and only the hosting daemon needs it

    words = (fabric, name, *([seed] if seed else ()))
    digest = hashlib.blake2s(os.fsencode("\0".join(words)), digest_size=5).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest))
