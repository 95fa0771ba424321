"""A user's words for partitions and uplinks, most of them right, and what an error about them must be."""

from __future__ import annotations

from typing import Any

from tests.fuzz.choices import Choices
from vnicd.errors import VnicdError

LONGEST_LINE = 1000
"""Characters of an error; what a user gave is in it, but not at any length."""

ADDRESSES = (
    "10.0.0.1/24", "10.0.0.2/24", "10.0.0.2/8", "fd00::1/64", "fd00::2/64", "10.78.0.5/24", "10.0.0.0/24", "10.0.0.1",
    "10.0.0.300/24", "::/0", "::ffff:10.0.0.1/120", "fe80::1%eth0/64", "224.0.0.1/4", "10.0.0.1/31", "10.0.0.1/32",
)  # fmt: skip
GATEWAYS = ("10.0.0.254", "fd00::fe", "fe80::1", "10.0.0.1", "192.0.2.1", "10.0.0.255", "fe80::1%eth0")
MACS = ("02:00:00:00:00:01", "02-00-00-00-00-02", "03:00:00:00:00:01", "00:00:00:00:00:00")
RATES = ("100mbit", "1.5gbit", "1tbit", "0", "0.0000001", "1bit", "2tbit", "100 Mbit/s", 10**9, 0, 1)
PUBLISHED = (
    "8080:80", "8081:80/udp", "10.0.0.9:8080:80", "[fd00::9]:53:53/udp", "0:80", "99999:1", "8080:web:80",
    "127.0.0.1:1:1",
)  # fmt: skip
FULL_PUBLISHED = (
    "8080:web:80",
    "53:db:53/udp",
    "8080:80",
    "10.0.0.9:1:a:1",
    "[fd00::9]:1:web:1",
    "[::]:1:web:1",
)
SUBNETS = (
    "10.78.0.1/24",
    "fd78::1/64",
    "10.79.0.0/24",
    "10.0.0.0/31",
    "127.0.0.0/8",
    "fe80::/64",
    "10.0.0.0/4",
)
NETNS = ("/run/netns/x", "x", "/proc/1/ns/net", "a/b", "..", "\n")


def check_line(error: VnicdError) -> None:
    """One line that can be shown, of a length that can be read."""
    line = error.line()
    assert line.isprintable(), f"not to be shown: {line!r}"
    assert 3 < len(line) <= LONGEST_LINE, f"{len(line)} characters: {line[:200]!r}"


def _maybe(choices: Choices, known: tuple[Any, ...]) -> Any:
    return choices.pick(known) if not choices.one_in(16) else choices.value()


def _some(choices: Choices, known: tuple[Any, ...]) -> Any:
    if choices.one_in(24):
        return choices.value()
    return [_maybe(choices, known) for _ in range(choices.below(4))]


def partition(choices: Choices) -> Any:
    """The table of a partition, without its name."""
    if choices.one_in(32):
        return choices.value()
    given: dict[str, Any] = {}
    known = {
        "addresses": (_some, ADDRESSES),
        "mac": (_maybe, MACS),
        "mtu": (_maybe, (576, 1280, 1500, 65000, 575, 70000)),
        "ifname": (_maybe, ("vnic0", "eth0", "lo", "x" * 16, "a b")),
        "netns": (_maybe, NETNS),
        "gateways": (_some, GATEWAYS),
        "rate": (_maybe, RATES),
        "publish": (_some, PUBLISHED),
    }
    for key, (make, words) in known.items():
        if choices.one_in(3):
            given[key] = make(choices, words)
    if choices.one_in(32):
        given[choices.text()] = choices.value()
    return given


def uplink(choices: Choices) -> dict[str, Any]:
    given: dict[str, Any] = {}
    known = {
        "nic": (_maybe, ("eth1", "lo", "x" * 16, "ethé")),
        "mode": (_maybe, ("nat", "nat", "nat", "bridge", "shared", "other")),
        "subnets": (_some, SUBNETS),
        "publish": (_some, FULL_PUBLISHED),
        "propagate_link": (_maybe, (True, False)),
    }
    for key, (make, words) in known.items():
        usual = key in ("nic", "mode") and not choices.one_in(8)
        if usual or choices.one_in(3):
            given[key] = make(choices, words)
    return given
