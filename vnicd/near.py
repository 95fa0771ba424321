"""Abstract names by which programs know without asking which addresses are none of the fabric's: pure."""

from __future__ import annotations

from collections.abc import Collection

NAMED_ADDRESSES = 32
"""Up to so many addresses of a fabric have names of their own: there is a socket for each, in each namespace."""


def _name(text: str) -> bytes:
    return f"\0vnicd-near/{text}".encode()


EXACT = _name("exact")
"""Bound while each address has a name of its own."""


def names(ips: Collection[bytes]) -> set[bytes]:
    """What is to be bound for these addresses: the /16 of each, or /32 of IPv6, and in a small fabric each of them."""
    near = {ip[: 2 if len(ip) == 4 else 4] for ip in ips}
    if not 0 < len(ips) <= NAMED_ADDRESSES:
        return {_name(part.hex()) for part in near}
    return {_name(part.hex()) for part in near.union(ips)} | {EXACT}
