"""Mends an interface: puts back the MAC, MTU, addresses and default routes that it has lost."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vnicd.errors import Invalid, VnicdError
from vnicd.kernel import interface, netns, readdress, tap, vnic
from vnicd.kernel.drift import seen
from vnicd.packet import announcement
from vnicd.spec.addresses import host, link_local
from vnicd.spec.drift import Drift, Kind, Seen, drift, to_mend
from vnicd.spec.partition import PartitionSpec

IsDue = Callable[[Drift], bool]


@dataclass
class Outcome:
    mended: list[Drift] = field(default_factory=list)
    refused: list[tuple[Drift, str]] = field(default_factory=list)
    """What could not be put back, and why."""


def mend(spec: PartitionSpec, tap_fd: int, mtu: int | None, dropped: bool, is_due: IsDue) -> Outcome:
    """Look at the interface of a TAP again, and put back what is to be (spec/drift.py) and is due.

    OSError when it is gone.
    """
    name = tap.name_of(tap_fd)
    place = tap.namespace(tap_fd)
    try:
        return netns.inside(f"/proc/self/fd/{place}", lambda: _inside(spec, name, mtu, dropped, is_due))
    finally:
        os.close(place)


def _inside(spec: PartitionSpec, name: str, mtu: int | None, dropped: bool, is_due: IsDue) -> Outcome:
    outcome = Outcome()
    now = seen.look(name)
    if now is None:
        return outcome
    for each in filter(is_due, to_mend(drift(spec, mtu, now), now, spec.owns_netns, dropped)):
        try:
            _mend(spec, now, mtu or now.mtu, each)
        except VnicdError as error:
            outcome.refused.append((each, error.line()))
        else:
            outcome.mended.append(each)
    _announce(spec.mac, name, [each.value for each in outcome.mended if each.kind is Kind.ADDRESS])
    return outcome


def _mend(spec: PartitionSpec, now: Seen, mtu: int, each: Drift) -> None:
    if each.kind is Kind.MAC:
        interface.set_mac(now.index, spec.mac)
        _renew_link_local(now, spec.mac)
    elif each.kind is Kind.MTU:
        vnic.set_mtu(now.ifname, mtu)
    elif each.kind is Kind.ADDRESS:
        _add_address(now, each.value)
    elif each.kind is Kind.ROUTE:
        vnic.add_default_routes(now.ifname, [each.value], spec.addresses)


def _renew_link_local(now: Seen, mac: str) -> None:
    """An IPv6 link-local address that the kernel has made of the other MAC stays, and is nobody's to send from."""
    made = f"{link_local(now.mac)}/64"
    if interface.has_address(now.index, made):
        readdress.change(now.ifname, [made], [f"{link_local(mac)}/64"])


def _add_address(now: Seen, text: str) -> None:
    """The kernel knows no second IPv6 address that differs only in its prefix length."""
    wanted = ipaddress.ip_interface(text)
    others = [other for other in now.addresses if ipaddress.ip_interface(other).ip == wanted.ip]
    if wanted.version == 6 and others:
        readdress.change(now.ifname, others, [text])
        return
    interface.disable_detection(now.ifname)
    try:
        with IPRoute() as route:
            interface.add_address(route, now.index, text)
    except NetlinkError as error:
        raise Invalid(f"the address {text} can't be given to {now.ifname}: {error.args[-1]}") from error


def _announce(mac: str, name: str, addresses: list[str]) -> None:
    """Neighbours may have given them up."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            for text in addresses:
                sock.sendto(announcement.frame(mac, host(text)), (name, 0))
    except (OSError, UnicodeEncodeError):
        pass  # it is down again: nobody hears it
