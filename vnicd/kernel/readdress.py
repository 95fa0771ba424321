"""Addresses and default routes of an interface in use, changed so that connections over what stays go on."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vnicd.errors import Invalid
from vnicd.kernel.interface import (
    add_address,
    address_words,
    default_route_words,
    disable_detection,
    index_of,
)
from vnicd.kernel.vnic import route_words
from vnicd.spec.partition import Interface

TABLE_MAIN = 254

GONE = (errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT, errno.ENXIO)
"""ENXIO: the interface has no IPv6, as with an MTU that is too small for it."""


def change(ifname: str, old: Iterable[str], new: Iterable[str]) -> None:
    """Take those of the `old` addresses away that are not in `new`, and add those of `new` that are not in `old`.

    New ones come first, because with its last address an interface loses its routes. Addresses that somebody else has
    given it stay.
    """
    had: list[Interface] = [ipaddress.ip_interface(text) for text in old]
    wanted: list[Interface] = [ipaddress.ip_interface(text) for text in new]
    kept = {address.ip for address in wanted}
    gone: list[Interface] = [each for each in had if each not in wanted]
    with IPRoute() as route:
        index = index_of(ifname)
        # The kernel knows no second IPv6 address that differs only in its prefix length.
        clashing: list[Interface] = [each for each in gone if each.version == 6 and each.ip in kept]
        for address in clashing:
            _attempt(ifname, partial(_delete, route, index, address))
        disable_detection(ifname)
        for address in wanted:
            if address not in had:
                _attempt(ifname, partial(add_address, route, index, str(address)))
        _keep_secondaries(ifname)
        for address in gone:
            if address not in clashing:
                _attempt(ifname, partial(_delete, route, index, address))


def drop_default_routes(ifname: str, gateways: Iterable[str]) -> None:
    """Remove the default routes through `ifname` by these gateways; no error when there are none."""
    index = index_of(ifname)
    with IPRoute() as route:
        for gateway in map(ipaddress.ip_address, gateways):
            words = default_route_words(index, gateway)
            _attempt(ifname, partial(route.route, "del", table=TABLE_MAIN, **words))


def drop_routes(ifname: str, routes: Iterable[str]) -> None:
    """Remove these routes through `ifname`; no error when there are none."""
    index = index_of(ifname)
    with IPRoute() as route:
        for text in routes:
            words = route_words(index, text)
            _attempt(ifname, partial(route.route, "del", table=TABLE_MAIN, **words))


def _delete(route: IPRoute, index: int | None, address: Interface) -> None:
    route.addr("del", index=index, **address_words(address))


def _attempt(ifname: str, work: Callable[[], object]) -> None:
    """Do it; nothing happens when what is to be removed is not there."""
    try:
        work()
    except NetlinkError as error:
        if error.code not in GONE:
            raise Invalid(f"the kernel refuses the settings of {ifname}: {error.args[-1]}") from error


def _keep_secondaries(ifname: str) -> None:
    """Without this the first IPv4 address of a subnet takes the others of that subnet with it."""
    path = Path(f"/proc/sys/net/ipv4/conf/{ifname}/promote_secondaries")
    if path.exists():
        path.write_text("1")
