"""What an uplink is - the real NIC that partitions share - and the checks that a user's words for it must pass."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from vnicd.errors import Exists, Invalid, NotFound
from vnicd.spec.partition import MAX_ADDRESSES, Interface, check_name, parse_address

Mode = Literal["bridge", "shared", "nat", "none"]

MAX_PUBLISHED = 256

_NIC = re.compile(r"[^\s/:]{1,15}")
_PORT = "([0-9]{1,5})"
_AT = r"(?:([0-9.]+|\[[0-9a-fA-F:.]+\]):)?"
_PUBLISH = re.compile(rf"{_AT}{_PORT}:([^:/]+):{_PORT}(?:/(tcp|udp))?")
_PUBLISHED = re.compile(rf"{_AT}{_PORT}(?:/(tcp|udp))?")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Publish:
    """A port of the machine that leads to one of a partition."""

    port: int
    name: str
    """Of the partition, which need not exist yet."""
    target: int
    protocol: str = "tcp"
    address: str = ""
    """Of the machine; empty for all of them."""

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        suffix = "" if self.protocol == "tcp" else f"/{self.protocol}"
        return f"{address + ':' if address else ''}{self.port}:{self.name}:{self.target}{suffix}"

    def overlaps(self, other: Publish) -> bool:
        """Whether a packet can be meant for both; one without an address is for all of them."""
        is_same_port = (self.port, self.protocol) == (other.port, other.protocol)
        return is_same_port and (self.address == other.address or "" in (self.address, other.address))


@dataclass(frozen=True)
class UplinkSpec:
    """An uplink as it was asked for: all of it is checked and normal."""

    nic: str
    """Empty in mode none: the machine itself is in the fabric, and there is no way out of it."""
    mode: Mode = "bridge"
    subnets: tuple[str, ...] = ()
    """nat only: the gateway's address with the prefix length, at most one of each family: 10.78.0.1/24."""
    publish: tuple[Publish, ...] = ()
    """nat only."""
    propagate_link: bool = False
    addresses: tuple[str, ...] = ()
    """none only: the machine's own in the fabric, with prefix lengths."""

    @property
    def guards_addresses(self) -> bool:
        """Whether a partition may only send from the addresses that it was given."""
        return self.mode in ("shared", "nat")

    @property
    def is_like_nic(self) -> bool:
        """Whether port 0's interface has the MAC and the addresses of the NIC, or else its own."""
        return self.mode in ("bridge", "shared")

    @property
    def gateways(self) -> tuple[Interface, ...]:
        """The hosting partition's own addresses in nat mode."""
        return tuple(ipaddress.ip_interface(text) for text in self.subnets)

    @property
    def own_addresses(self) -> tuple[Interface, ...]:
        """What port 0's interface has of its own, and not from the NIC."""
        return tuple(ipaddress.ip_interface(text) for text in (*self.subnets, *self.addresses))

    @property
    def title(self) -> str:
        """For people: eth1 (nat)."""
        return f"{self.nic} ({self.mode})" if self.nic else self.mode

    def to_json(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "subnets": list(self.subnets),
            "addresses": list(self.addresses),
            "publish": [str(each) for each in self.publish],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> UplinkSpec:
        """Out of a state, which an earlier version may have written, with a backend."""
        return make_uplink(**{key: value for key, value in data.items() if key != "backend"})


def make_uplink(
    nic: object = None,
    mode: object = None,
    subnets: Iterable[object] | None = None,
    publish: Iterable[object] | None = None,
    propagate_link: object = False,
    addresses: Iterable[object] | None = None,
) -> UplinkSpec:
    """An UplinkSpec from a user's words; Invalid tells which one is wrong."""
    mode = _one_of("mode", mode, get_args(Mode))
    for what, words in (("subnet", subnets), ("publish", publish), ("addresses", addresses)):
        if words is not None and not isinstance(words, list | tuple):
            raise Invalid(f"{what} must be a list")
        if words and what != "addresses" and mode != "nat":
            raise Invalid(f"--{what} is for the nat mode", "add: --mode nat")
        if words and what == "addresses" and mode != "none":
            raise Invalid(f"addresses are for mode none, and the mode is {mode}")
    if not isinstance(propagate_link, bool):
        raise Invalid("propagate_link must be true or false")
    if mode == "none":
        if nic:
            raise Invalid(f"mode none uses no NIC, and {nic} is named", "vnicctl uplink none --address ...")
        if propagate_link:
            raise Invalid("in mode none there is no carrier to propagate")
        return UplinkSpec("", "none", addresses=_own_addresses(addresses or ()))
    return UplinkSpec(
        check_nic(nic),
        cast(Mode, mode),
        _subnets(subnets or ()) if mode == "nat" else (),
        _published(publish or ()),
        propagate_link,
    )


UNUSABLE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/16",
        "fe80::/10",
        "ff00::/8",
    )
)
"""Networks whose addresses no partition can have."""

DEFAULT_SUBNETS = ("10.78.0.1/24", "fd78::1/64")


def check_nic(name: object) -> str:
    if not isinstance(name, str) or not _NIC.fullmatch(name) or not name.isprintable() or name in (".", ".."):
        raise Invalid(f"{name!r} is not an interface name")
    if len(name.encode()) > 15:
        raise Invalid(f"{name!r} is longer than the 15 bytes of an interface name")
    if name == "lo":
        raise Invalid("the loopback interface leads nowhere", "name a network adapter; see: ip link")
    return name


def _one_of(what: str, word: object, choices: tuple[str, ...]) -> str:
    if word is None:
        return choices[0]
    if word not in choices:
        raise Invalid(f"the {what} must be {', '.join(choices[:-1])} or {choices[-1]}, not {word}")
    return str(word)


def _subnets(words: Iterable[object]) -> tuple[str, ...]:
    """The gateway's addresses: the first of a network unless one is named. DEFAULT_SUBNETS when none is given."""
    found: dict[int, str] = {}
    for text in words:
        gateway = check_gateway(text)
        if gateway.version in found:
            raise Invalid(f"there can be one IPv4 and one IPv6 subnet, and {text} is another")
        found[gateway.version] = str(gateway)
    return tuple(found[version] for version in (4, 6) if version in found) or DEFAULT_SUBNETS


def check_gateway(text: object) -> Interface:
    """The gateway of a subnet: the first address of a network unless one is named."""
    try:
        if not isinstance(text, str) or "/" not in text or "%" in text:
            raise ValueError
        given = ipaddress.ip_interface(text)
    except ValueError as error:
        raise Invalid(f"{text} is not a subnet", "write it as 10.78.0.0/24 or fd78::/64") from error
    network = given.network
    longest = 30 if given.version == 4 else 126
    if not 8 <= network.prefixlen <= longest:
        raise Invalid(f"the prefix length of the subnet {text} must be 8 to {longest}")
    if any(network.version == each.version and network.overlaps(each) for each in UNUSABLE):
        raise Invalid(f"partitions can't have addresses of {network}")
    ip = given.ip if given.ip != network.network_address else network.network_address + 1
    return parse_address(f"{ip}/{network.prefixlen}")


def _own_addresses(words: Iterable[object]) -> tuple[str, ...]:
    found = [parse_address(text) for text in words]
    if not found:
        raise Invalid("the machine needs an address in the fabric", "name one: --address 10.77.0.254/24")
    if len(found) > MAX_ADDRESSES:
        raise Invalid(f"the machine has at most {MAX_ADDRESSES} addresses in the fabric, not {len(found)}")
    if len({each.ip for each in found}) != len(found):
        raise Invalid("an address is given twice")
    return tuple(map(str, found))


def _published(words: Iterable[object]) -> tuple[Publish, ...]:
    found = tuple(parse_publish(text) for text in words)
    if len(found) > MAX_PUBLISHED:
        raise Invalid(f"at most {MAX_PUBLISHED} ports can be published, not {len(found)}")
    for number, each in enumerate(found):
        if any(each.overlaps(other) for other in found[:number]):
            raise Invalid(f"port {each.port}/{each.protocol} is published twice")
    return found


def add_published(have: Iterable[Publish], words: Iterable[object]) -> tuple[Publish, ...]:
    """Published ports with those of a user's words behind them; Exists when one is published already."""
    have = tuple(have)
    for text in words:
        new = parse_publish(text)
        if other := next((each for each in have if each.overlaps(new)), None):
            hint = f"remove that first: vnicctl publish remove {other}"
            raise Exists(f"port {new.port}/{new.protocol} is published already, as {other}", hint)
        have = (*have, new)
    if len(have) > MAX_PUBLISHED:
        raise Invalid(f"at most {MAX_PUBLISHED} ports can be published")
    return have


def remove_published(have: Iterable[Publish], words: Iterable[object]) -> tuple[Publish, ...]:
    """Published ports without those that a user's words name: in full, or as [ADDRESS:]PORT[/udp].

    NotFound when there is none, Invalid when an address is needed to tell which one is meant.
    """
    have = tuple(have)
    for text in words:
        match = _PUBLISHED.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            meant = [each for each in have if each == parse_publish(text)]
        else:
            given, port, protocol = match.groups()
            address = _published_address(given.strip("[]")) if given else ""
            key = (int(port), protocol or "tcp")
            meant = [each for each in have if (each.port, each.protocol) == key]
            meant = [each for each in meant if each.address == address or not given]
        if not meant:
            raise NotFound(f"{text} is not published", "list what is: vnicctl publish list")
        if len(meant) > 1:
            which = ", ".join(map(str, meant))
            raise Invalid(f"{text} is published at several addresses: {which}", "name one of them")
        have = tuple(each for each in have if each not in meant)
    return have


def parse_publish(text: object) -> Publish:
    """[ADDRESS:]PORT:PARTITION:PORT[/udp]"""
    match = _PUBLISH.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Invalid(
            f"{text!r} does not name a port to publish", "write PORT:PARTITION:PORT, as 8080:web:80"
        )
    given, port, name, target, protocol = match.groups()
    address = _published_address(given.strip("[]")) if given else ""
    for number in (port, target):
        if not 0 < int(number) < 65536:
            raise Invalid(f"{number} is not a port number")
    return Publish(int(port), check_name(name), int(target), protocol or "tcp", address)


def _published_address(text: str) -> str:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError as error:
        raise Invalid(f"{text} is not an address of this machine") from error
    if ip.is_unspecified:
        raise Invalid(f"{text} is no address to publish at", "leave it out to mean all addresses")
    if ip.is_loopback and ip.version == 6:
        # The kernel lets nothing from there leave for another interface.
        raise Invalid(f"nothing can be published at {text}", "name another address, as 127.0.0.1, or none")
    if ip.is_loopback:
        return str(ip)
    return str(parse_address(f"{ip}/{ip.max_prefixlen}").ip)


def gift(subnets: Iterable[str], free: Iterable[str]) -> str:
    """The options of `partition set` that give a partition addresses of nat mode's subnets, and their gateways."""
    addresses = [f"--address {each}" for each in free] or ["--address ..."]
    return " ".join([*addresses, *(f"--gateway {ipaddress.ip_interface(text).ip}" for text in subnets)])
