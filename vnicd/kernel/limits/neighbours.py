"""Room for neighbours: the kernel keeps one table for all namespaces together, by default of 1024 entries.

Partitions that all talk to each other take one entry for each ordered pair, 4032 for 64 of them; when the table
is full, pings between them fail although every frame would arrive.
"""

from __future__ import annotations

from pathlib import Path

from vnicd.kernel.limits.raised import SharedLimit

THRESHOLDS = {"gc_thresh3": 16384, "gc_thresh2": 12288, "gc_thresh1": 8192}
"""The most entries, those kept for five seconds only beyond this, and those below which none is thrown away."""


def limits() -> list[SharedLimit]:
    """The fabric's claims on these thresholds, for IPv4 and IPv6."""
    return [
        SharedLimit(
            Path(f"/proc/sys/net/{family}/neigh/default/{name}"),
            Path(f"/run/vnicd-{family}-{name}.lock"),
            least,
        )
        for family in ("ipv4", "ipv6")
        for name, least in THRESHOLDS.items()
    ]
