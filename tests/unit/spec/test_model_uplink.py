"""What a partition says of its way out: gateways that it can reach, and a rate."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnicd.errors import Invalid
from vnicd.spec.partition import RATE_MAX, RATE_MIN, PartitionSpec, check_rate, make_partition


@pytest.mark.parametrize(
    ("addresses", "gateways", "normal"),
    [
        (["10.0.0.5/24"], ["10.0.0.1"], ("10.0.0.1",)),
        (["10.0.0.5/24", "fd00::5/64"], ["FD00:0::1", "10.0.0.254"], ("10.0.0.254", "fd00::1")),
        (["10.0.0.5/32"], ["192.0.2.1"], ("192.0.2.1",)),
        (["fd00::5/128"], ["2001:db8::1"], ("2001:db8::1",)),
        (["10.0.0.4/31"], ["10.0.0.5"], ("10.0.0.5",)),
        (["10.0.0.5/24"], ["169.254.1.1"], ("169.254.1.1",)),
        ([], ["fe80::1"], ("fe80::1",)),
        (["10.0.0.5/24"], [], ()),
        (["10.0.0.5/24"], None, ()),
    ],
)
def test_gateways_that_pass(addresses: list[str], gateways: Any, normal: tuple[str, ...]) -> None:
    spec = make_partition("a", addresses, gateways=gateways)
    assert spec.gateways == normal
    assert PartitionSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("addresses", "gateway", "reason"),
    [
        ([], "10.0.0.1", "in no subnet"),
        ([], "169.254.1.1", "in no subnet"),
        (["fd00::5/64"], "10.0.0.1", "in no subnet"),
        (["10.0.0.5/24"], "10.0.1.1", "in no subnet"),
        (["fd00::5/64"], "fd00:1::1", "in no subnet"),
        (["10.0.0.5/24"], "10.0.0.5", "own address"),
        (["10.0.0.5/24"], "10.0.0.0", "can't be a gateway"),
        (["10.0.0.5/24"], "10.0.0.255", "can't be a gateway"),
        (["10.0.0.5/32"], "0.0.0.0", "can't be a gateway"),
        (["10.0.0.5/32"], "224.0.0.1", "can't be a gateway"),
        (["10.0.0.5/32"], "255.255.255.255", "can't be a gateway"),
        (["10.0.0.5/32"], "127.0.0.1", "can't be a gateway"),
        (["fd00::5/128"], "::ffff:10.0.0.1", "can't be a gateway"),
        (["fd00::5/128"], "::", "can't be a gateway"),
        (["10.0.0.5/24"], "10.0.0.1/24", "without prefix length"),
        (["fd00::5/64"], "fe80::1%eth0", "not the address of a gateway"),
        (["10.0.0.5/24"], "gate", "not the address of a gateway"),
        (["10.0.0.5/24"], 167772161, "not the address of a gateway"),
        (["10.0.0.5/24"], None, "not the address of a gateway"),
    ],
)
def test_gateways_that_do_not_pass(addresses: list[str], gateway: object, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        make_partition("a", addresses, gateways=[gateway])
    assert reason in caught.value.line()


def test_one_gateway_of_a_family() -> None:
    with pytest.raises(Invalid, match="one IPv4 gateway"):
        make_partition("a", ["10.0.0.5/24"], gateways=["10.0.0.1", "10.0.0.2"])
    wrong: list[Any] = ["10.0.0.1", {"10.0.0.1": 1}, 7]
    for words in wrong:
        with pytest.raises(Invalid, match="list"):
            make_partition("a", ["10.0.0.5/24"], gateways=words)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("100mbit", 10**8),
        ("100Mbit", 10**8),
        ("100 Mbit/s", 10**8),
        ("100mbitps", 10**8),
        ("100m", 10**8),
        (" 1.5gbit ", 1_500_000_000),
        ("0.5mbit", 500_000),
        ("100kbit", RATE_MIN),
        ("1tbit", RATE_MAX),
        ("250000", 250_000),
        (250_000, 250_000),
        ("0", 0),
        ("0mbit", 0),
        (0, 0),
    ],
)
def test_rates_that_pass(text: object, bits: int) -> None:
    assert check_rate(text) == bits
    assert make_partition("a", rate=text).rate == bits


@pytest.mark.parametrize(
    "text",
    ["", "fast", "-1mbit", "1e9", ".5mbit", "5.mbit", "mbit", "100mbps", "100mb/s", "100kibit", "99999", "0.4", "2tbit",
     "9" * 400, "9" * 5000, "1" + "0" * 12 + "tbit", "0." + "0" * 400 + "1", "inf", "nan", "\u0661mbit", "1\nmbit\n2",
     True, 1.5e6, -1, 1, 10**12 + 1, float("nan"), None, [10**6], {}]
)  # fmt: skip
def test_rates_that_do_not_pass(text: object) -> None:
    with pytest.raises(Invalid):
        check_rate(text)


@given(st.integers(RATE_MIN // 1000, 10**9 - 1))
def test_a_rate_is_the_same_in_every_unit(kilobits: int) -> None:
    texts = [
        f"{kilobits * 1000}",
        f"{kilobits}kbit",
        f"{kilobits / 1000:.3f}mbit",
        f"{kilobits / 10**6:.6f}gbit",
    ]
    assert {check_rate(text) for text in texts} == {kilobits * 1000}
