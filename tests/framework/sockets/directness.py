"""May a connection be direct? The cases that all who decide it must agree upon."""

from __future__ import annotations

from dataclasses import dataclass

from vnicd.sockets.abi import Reason

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
    reason: Reason
    has_library: bool = True
    """Whether the program that listens has the preload library."""


CASES = (
    Case("nobody has the address", "10.77.0.9", "", "", Reason.NOT_A_PARTITION),
    Case("nobody has the IPv6 address", "fd77::9", "", "", Reason.NOT_A_PARTITION),
    Case("nobody has the network", "10.99.0.1", "", "", Reason.NOT_A_PARTITION),
    Case("nobody listens", GREEN, "", "", Reason.NO_LIBRARY),
    Case("nobody listens at the IPv6 address", GREEN6, "", "", Reason.NO_LIBRARY),
    Case("who listens has no library", GREEN, GREEN, "green", Reason.NO_LIBRARY, has_library=False),
    Case("at this address", GREEN, GREEN, "green", Reason.DIRECT),
    Case("at this IPv6 address", GREEN6, GREEN6, "green", Reason.DIRECT),
    Case("at another address of the partition", GREEN, GREEN_TOO, "green", Reason.NO_LIBRARY),
    Case("at the partition's second address", GREEN_TOO, GREEN_TOO, "green", Reason.DIRECT),
    Case("at all IPv4 addresses", GREEN, "0.0.0.0", "green", Reason.DIRECT),
    Case("at all IPv4 addresses, asked for by IPv6", GREEN6, "0.0.0.0", "green", Reason.NO_LIBRARY),
    Case("at all addresses", GREEN, "::", "green", Reason.DIRECT),
    Case("at all addresses, asked for by IPv6", GREEN6, "::", "green", Reason.DIRECT),
    Case("only in the own partition", GREEN, "0.0.0.0", "blue", Reason.NO_LIBRARY),
    Case("the own address", BLUE, BLUE, "blue", Reason.DIRECT),
    Case("the own IPv6 address", BLUE6, BLUE6, "blue", Reason.DIRECT),
    Case(
        "the own address, at which only another partition listens",
        BLUE,
        "0.0.0.0",
        "green",
        Reason.NO_LIBRARY,
    ),
    Case("loopback", "127.0.0.1", "127.0.0.1", "blue", Reason.DIRECT),
    Case(
        "loopback, at which only another partition listens",
        "127.0.0.1",
        "0.0.0.0",
        "green",
        Reason.NO_LIBRARY,
    ),
)
"""With VNICD_LOOPBACK=1; else the library decides by itself that what stays in a partition is not direct."""

INSIDE = (BLUE, BLUE6, "127.0.0.1")
"""Targets in the partition of the program that connects."""
