"""Abstract names by which programs know without asking what can't be direct (discovery/presence.c): pure."""

from __future__ import annotations

from collections.abc import Collection

NAMED_ADDRESSES = 32
"""Up to so many addresses of a fabric have names of their own: there is a socket for each, in each namespace."""

NAMED_PORTS = 32
"""And so many ports at which the preload library listens."""


def _name(text: str) -> bytes:
    return f"\0vnicd-presence/{text}".encode()


HERE = _name("here")
"""Bound as long as the namespace is served."""

EXACT = _name("exact")
"""Bound while each address has a name of its own."""

PORTS = _name("ports")
"""Bound while that is so, and each port has one at which a program with the preload library listens."""

FLAGS = frozenset({EXACT, PORTS})
"""They say that others are complete: bound after those, and gone before them."""


def names(ips: Collection[bytes], ports: Collection[int] | None) -> set[bytes]:
    """What is to be bound for these addresses: the /16 of each, or /32 of IPv6, and in a small fabric each of them.

    There the ports as well, unless they are not known (None) or many.
    """
    found = {HERE} | {_name(ip[: 2 if len(ip) == 4 else 4].hex()) for ip in ips}
    if not 0 < len(ips) <= NAMED_ADDRESSES:
        return found
    found |= {_name(ip.hex()) for ip in ips} | {EXACT}
    if ports is None or len(ports) > NAMED_PORTS:
        return found
    return found | {_name(f"port/{port}") for port in ports} | {PORTS}
