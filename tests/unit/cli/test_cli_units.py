"""Numbers, times and names as vnicctl's tables show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnicd.cli import units
from vnicd.spec.partition import RATE_MAX, RATE_MIN, check_rate


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (2097152, "2MiB"),
        (1 << 30, "1GiB"),
        (3 * (1 << 50), "3072TiB"),
    ],
)
def test_size(value: int | None, text: str) -> None:
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m 0s"), (3600, "1h 0m"), (11525, "3h 12m"), (90061, "1d 1h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (None, "-"),
        (0, "-"),
        (999, "999 bit/s"),
        (100_000, "100 kbit/s"),
        (100_000_000, "100 Mbit/s"),
        (999_999_999, "999.999999 Mbit/s"),
        (1_500_000_000, "1.5 Gbit/s"),
        (400_000_000_000, "400 Gbit/s"),
        (10**12, "1 Tbit/s"),
    ],
)
def test_rate(bits: int | None, text: str) -> None:
    assert units.rate(bits) == text


@given(st.integers(RATE_MIN, RATE_MAX))
def test_a_rate_that_is_shown_can_be_given(bits: int) -> None:
    assert check_rate(units.rate(bits)) == bits


def test_drops_names_what_happened() -> None:
    assert units.drops({"ring_full": 1234, "bad_source": 0, "no_link": 1}) == "ring_full 1,234, no_link 1"
    assert units.drops({"ring_full": 0}) == "-"


def test_netns() -> None:
    assert units.netns("/run/netns/blue") == "blue"
    assert units.netns("/proc/7/ns/net") == "/proc/7/ns/net"
    assert units.netns("") == "-"
