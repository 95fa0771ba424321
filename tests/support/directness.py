"""May a connection be direct? The cases that all who decide it must agree upon."""

from __future__ import annotations

from dataclasses import dataclass

from vnicd.sockets.abi import Why

BLUE, BLUE6 = "10.77.0.1", "fd77::1"
GREEN, GREEN6, GREEN_TOO = "10.77.0.2", "fd77::2", "10.77.0.3"
"""The addresses of two partitions; a program in blue is about to connect."""


@dataclass(frozen=True)
class Case:
    name: str
    target: str
    listens: str
    """Where a program listens at the port: an address, "" for nowhere."""
    inside: str
    """The partition that it listens in."""
    why: Why
    has_library: bool = True
    """Whether the program that listens has the preload library."""


CASES = (
    Case("nobody has the address", "10.77.0.9", "", "", Why.NOT_A_PARTITION),
    Case("nobody has the IPv6 address", "fd77::9", "", "", Why.NOT_A_PARTITION),
    Case("nobody has the network", "10.99.0.1", "", "", Why.NOT_A_PARTITION),
    Case("nobody listens", GREEN, "", "", Why.NO_PROVIDER),
    Case("nobody listens at the IPv6 address", GREEN6, "", "", Why.NO_PROVIDER),
    Case("who listens has no library", GREEN, GREEN, "green", Why.NO_PROVIDER, has_library=False),
    Case("at this address", GREEN, GREEN, "green", Why.DIRECT),
    Case("at this IPv6 address", GREEN6, GREEN6, "green", Why.DIRECT),
    Case("at another address of the partition", GREEN, GREEN_TOO, "green", Why.NO_PROVIDER),
    Case("at the partition's second address", GREEN_TOO, GREEN_TOO, "green", Why.DIRECT),
    Case("at all IPv4 addresses", GREEN, "0.0.0.0", "green", Why.DIRECT),
    Case("at all IPv4 addresses, asked for by IPv6", GREEN6, "0.0.0.0", "green", Why.NO_PROVIDER),
    Case("at all addresses", GREEN, "::", "green", Why.DIRECT),
    Case("at all addresses, asked for by IPv6", GREEN6, "::", "green", Why.DIRECT),
    Case("only in the own partition", GREEN, "0.0.0.0", "blue", Why.NO_PROVIDER),
    Case("the own address", BLUE, BLUE, "blue", Why.DIRECT),
    Case("the own IPv6 address", BLUE6, BLUE6, "blue", Why.DIRECT),
    Case(
        "the own address, at which only another partition listens", BLUE, "0.0.0.0", "green", Why.NO_PROVIDER
    ),
    Case("loopback", "127.0.0.1", "127.0.0.1", "blue", Why.DIRECT),
    Case(
        "loopback, at which only another partition listens", "127.0.0.1", "0.0.0.0", "green", Why.NO_PROVIDER
    ),
)
"""With VNICD_LOOPBACK=1; else the library decides by itself that what stays in a partition is not direct."""

INSIDE = (BLUE, BLUE6, "127.0.0.1")
"""Targets in the partition of the program that connects."""
