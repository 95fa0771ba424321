"""Numbers, times and names in the form that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "-"
"""Stands in a table where there is nothing to tell."""

_RATE_UNITS = {"T": 10**12, "G": 10**9, "M": 10**6, "k": 10**3}

NETNS_DIRECTORY = "/run/netns/"


def count(value: int) -> str:
    return f"{value:,}"


def size(value: int | None) -> str:
    """Bytes in the largest unit that leaves a number of at least one: 2MiB, 1.5GiB."""
    if value is None:
        return NONE
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    digits = f"{amount:.0f}" if amount == int(amount) or amount >= 100 else f"{amount:.1f}"
    return f"{digits}{unit}"


def both_rates(data: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The limits of a partition to the uplink and from it; an earlier hosting daemon tells one for both."""
    bits: int | None = data.get("rate")
    return bits, data.get("rate_in", bits)


def rates(data: Mapping[str, Any]) -> str:
    """Both limits of a partition, as one where they are the same."""
    bits, bits_in = both_rates(data)
    return rate(bits) if bits == bits_in else f"{rate(bits)} / {rate(bits_in)}"


def rate(bits: int | None) -> str:
    """Bits per second in the largest unit that leaves a number of at least one, exactly: 1.5 Gbit/s.

    --rate takes it as it is.
    """
    if not bits:
        return NONE
    amount, unit = next(
        ((bits / size, unit) for unit, size in _RATE_UNITS.items() if bits >= size), (float(bits), "")
    )
    digits = f"{amount:.9f}".rstrip("0").rstrip(".")
    return f"{digits} {unit}bit/s"


def duration(seconds: float) -> str:
    """The two largest units of a time: 3d 4h, 12m 5s, 7s."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, length)
        if amount or parts or unit == "s":
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def drops(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts, without those that never happened."""
    return ", ".join(f"{reason} {count(value)}" for reason, value in reasons.items() if value) or NONE


def netns(path: str) -> str:
    """A namespace as `ip netns` calls it, or its path when it has no name there."""
    return path.removeprefix(NETNS_DIRECTORY) or NONE


def word(text: str) -> str:
    """A word of the protocol, of which "none" says nothing."""
    return NONE if text == "none" else text


def yes(value: bool) -> str:
    return "yes" if value else "no"
