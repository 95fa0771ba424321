"""What the names of a fabric are: pure, and asked with the labels of DNS."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from enum import Enum

from vnicd.spec.names import SUFFIX

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Labels = tuple[bytes, ...]

SUFFIX_LABELS: Labels = tuple(SUFFIX.encode().split(b"."))
LOCALHOST = b"localhost"
LOOPBACK: tuple[Address, ...] = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


class Elsewhere(Enum):
    """Why the zone has no answer."""

    MISSING = "missing"
    """The name would be one of ours, and there is none."""
    FOREIGN = "foreign"
    """It is not ours to say."""


class Zone:
    """Names of partitions with their addresses, and back. Names are alike if only their cases differ, as in DNS; of
    partitions whose names are alike, the one is meant that is written just so, or else the one that came first."""

    def __init__(self) -> None:
        self.names: dict[Labels, dict[Labels, tuple[Address, ...]]] = {}
        """By the labels in lower case, and then as they are written."""
        self.owners: dict[Address, Labels] = {}

    def put(self, name: str, addresses: Sequence[str]) -> None:
        """A partition has these addresses from now on. A name that is none in DNS, such as `a..b`, is left out."""
        self.remove(name)
        labels = _labels(name)
        found = tuple(ip for ip in map(ipaddress.ip_address, addresses) if not ip.is_link_local)
        if all(labels):
            self.names.setdefault(_lower(labels), {})[labels] = found
            self.owners.update(dict.fromkeys(found, labels))

    def remove(self, name: str) -> None:
        """No error when there is no such name."""
        labels = _labels(name)
        alike = self.names.get(_lower(labels), {})
        for ip in alike.pop(labels, ()):
            if self.owners.get(ip) == labels:
                del self.owners[ip]
        if not alike:
            self.names.pop(_lower(labels), None)

    def find(self, labels: Labels) -> tuple[Address, ...] | Elsewhere:
        """The addresses of a name, perhaps none."""
        lower = _lower(labels)
        if lower[-1:] == (LOCALHOST,):
            return LOOPBACK
        is_full = lower[-len(SUFFIX_LABELS) :] == SUFFIX_LABELS
        if is_full:
            labels, lower = labels[: -len(SUFFIX_LABELS)], lower[: -len(SUFFIX_LABELS)]
            if not labels:
                return ()
        alike = self.names.get(lower)
        if alike is not None:
            return alike[labels] if labels in alike else next(iter(alike.values()))
        return Elsewhere.MISSING if is_full or len(labels) == 1 else Elsewhere.FOREIGN

    def reverse(self, labels: Labels) -> Labels | None:
        """The full name that belongs to an address, which is written as a name; None when it is no address of ours."""
        ip = _address(_lower(labels))
        if ip in LOOPBACK:
            return (LOCALHOST,)
        owner = self.owners.get(ip) if ip is not None else None
        return (*owner, *SUFFIX_LABELS) if owner is not None else None


def _labels(name: str) -> Labels:
    return tuple(name.encode().split(b"."))


def _lower(labels: Labels) -> Labels:
    return tuple(label.lower() for label in labels)


def _address(labels: Labels) -> Address | None:
    """The address that `2.0.77.10.in-addr.arpa` and the like stand for, None if it is no whole one."""
    try:
        parts = [label.decode("ascii") for label in reversed(labels[:-2])]
        if labels[-2:] == (b"in-addr", b"arpa") and len(parts) == 4:
            return ipaddress.IPv4Address(".".join(parts))
        if labels[-2:] == (b"ip6", b"arpa") and len(parts) == 32 and all(len(part) == 1 for part in parts):
            return ipaddress.IPv6Address(bytes.fromhex("".join(parts)))
    except ValueError:
        pass
    return None
