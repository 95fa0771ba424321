"""Drift: what a partition's interface has otherwise than it was declared, and what of that is put back; pure."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vnicd.errors import printable
from vnicd.spec.partition import PartitionSpec


@dataclass(frozen=True)
class DefaultRoute:
    """A default route of the main table of a namespace."""

    version: int
    """4 or 6."""
    gateway: str
    """Empty when it has none, or several."""
    is_own: bool
    """It leads through the interface that was looked at."""
    metric: int
    is_advertised: bool = False
    """A router's advertisement has made it."""


@dataclass(frozen=True)
class Seen:
    """What an interface has, as a look at it has found."""

    index: int
    ifname: str
    mac: str
    mtu: int
    is_up: bool
    has_master: bool
    """It is a port of a bridge, a bond or a VRF, which decides about it."""
    addresses: tuple[str, ...]
    """Without link-local ones of IPv6."""
    routes: tuple[DefaultRoute, ...]
    """All default routes of its namespace."""
    knows_routes: bool
    """There are not so many routes that the default ones among them were not found."""
    link_local_made: int
    """When the kernel made its link-local IPv6 address, in 1/100 s since boot; 0 when there is none."""
    lo_is_up: bool = True
    """The loopback interface of its namespace."""

    @property
    def gateways(self) -> list[str]:
        """Where its own default routes lead."""
        return [route.gateway for route in self.routes if route.is_own and route.gateway]

    def to_json(self) -> dict[str, Any]:
        return {
            "ifname": self.ifname,
            "mac": self.mac,
            "mtu": self.mtu,
            "up": self.is_up,
            "addresses": list(self.addresses),
            "gateways": self.gateways,
        }


class Kind(Enum):
    DOWN = "down"
    NAME = "name"
    MAC = "mac"
    MTU = "mtu"
    ADDRESS = "address"
    ROUTE = "route"
    OTHER_ROUTE = "other route"
    """The partition has another default route instead, which somebody has made on purpose."""


@dataclass(frozen=True)
class Drift:
    """One fact that is otherwise than declared."""

    kind: Kind
    text: str
    """What is so, to be put behind the partition's name."""
    remedy: str
    """A command that puts it right."""
    value: str = ""
    """The address or gateway that is meant."""

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind.value, "detail": self.text, "remedy": self.remedy}

    @property
    def is_fatal(self) -> bool:
        """Nothing that the partition sends arrives."""
        return self.kind in (Kind.DOWN, Kind.MAC)


def drift(spec: PartitionSpec, mtu: int | None, seen: Seen) -> list[Drift]:
    """How an interface differs from its spec and the MTU that it is to have; None for one that is not known.

    Addresses and routes of an interface that is set down are no matter: the kernel drops most of them itself.
    """
    return list(_drift(spec, mtu, seen))


def _drift(spec: PartitionSpec, mtu: int | None, seen: Seen) -> Iterator[Drift]:
    name, run = _word(seen.ifname), f"vnicctl exec {spec.name} --"
    if not seen.is_up:
        yield Drift(Kind.DOWN, f"has its interface {name} set down", f"{run} ip link set {name} up")
    if seen.ifname != spec.ifname:
        text = f"has its interface called {name} instead of {spec.ifname}"
        yield Drift(Kind.NAME, text, f"{run} ip link set {name} name {spec.ifname}")
    if seen.mac != spec.mac:
        text = f"has the MAC {seen.mac} instead of {spec.mac}, so all that it sends is dropped (bad_source)"
        yield Drift(Kind.MAC, text, f"{run} ip link set {name} address {spec.mac}")
    if mtu is not None and seen.mtu != mtu:
        yield Drift(
            Kind.MTU, f"has the MTU {seen.mtu} instead of {mtu}", f"{run} ip link set {name} mtu {mtu}"
        )
    if not seen.is_up:
        return
    for address in spec.addresses:
        if address not in seen.addresses:
            remedy = f"{run} ip address add {address} dev {name}"
            yield Drift(Kind.ADDRESS, f"has lost its address {address}", remedy, address)
    for gateway in spec.gateways if seen.knows_routes else ():
        if gateway not in seen.gateways:
            yield _route(gateway, seen, run)


def _route(gateway: str, seen: Seen, run: str) -> Drift:
    version = ipaddress.ip_address(gateway).version
    usual = 0 if version == 4 else 1024
    others = [
        route
        for route in seen.routes
        if route.version == version and route.metric <= usual and not route.is_advertised
    ]
    remedy = f"{run} ip{' -6' if version == 6 else ''} route replace default via {gateway} dev {_word(seen.ifname)}"
    if not others:
        return Drift(Kind.ROUTE, f"has lost its default route by {gateway}", remedy, gateway)
    there = others[0].gateway or "another interface"
    text = f"has its default route by {there} instead of {gateway}"
    return Drift(Kind.OTHER_ROUTE, text, remedy, gateway)


def _word(ifname: str) -> str:
    """An interface's name as a word for a shell and for a log: the partition's root has chosen it."""
    return shlex.quote(printable(ifname))


def was_set_down(last: Seen | None, seen: Seen) -> bool:
    """Whether the interface was set down and up again since the last look.

    With that the kernel drops IPv6 addresses and routes. A short time in between is seen by the age of the link-local
    address, if there is one.
    """
    if last is None or last.index != seen.index or not seen.is_up:
        return False
    return not last.is_up or 0 < last.link_local_made < seen.link_local_made


def to_mend(found: list[Drift], seen: Seen, is_ours: bool, dropped: bool) -> list[Drift]:
    """What of this drift is put back; `dropped` says that the interface was set down and up again.

    In a namespace that vnicd has made, all that was given to the partition. In somebody else's, a runtime or one of its
    plugins may have changed it on purpose: there only what the kernel has dropped by itself.
    """
    if not seen.is_up or seen.has_master:
        return []
    if is_ours:
        return [each for each in found if each.kind in (Kind.MAC, Kind.MTU, Kind.ADDRESS, Kind.ROUTE)]
    return [each for each in found if dropped and goes_with_down(each)]


def goes_with_down(drift: Drift) -> bool:
    """Whether the kernel itself drops this from an interface that is set down."""
    return drift.kind is Kind.ROUTE or (drift.kind is Kind.ADDRESS and ":" in drift.value)
