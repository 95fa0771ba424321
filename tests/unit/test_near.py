"""The names that tell which addresses are none of the fabric's."""

from __future__ import annotations

from vnicd import near
from vnicd.sockets import packed

BLUE = packed("10.77.0.2")


def test_a_small_fabric_names_each_address() -> None:
    six = packed("fd77:1::2")
    expected = {"here", "exact", "0a4d", "0a4d0002", "fd770001", "fd770001000000000000000000000002"}
    assert near.names({BLUE, six}, None) == {f"\0vnicd-near/{text}".encode() for text in expected}


def test_a_large_fabric_names_its_networks() -> None:
    many = {bytes([10, 77, 1, number]) for number in range(near.NAMED_ADDRESSES)}
    assert near.names(many, ()) >= near.FLAGS
    assert near.names({BLUE, *many}, {80}) == {near.HERE, b"\0vnicd-near/0a4d"}


def test_without_addresses_only_the_broker_has_a_name() -> None:
    assert near.names(set(), {80}) == {near.HERE}


def test_ports_have_names_unless_there_are_many() -> None:
    without = near.names({BLUE}, None)
    assert near.names({BLUE}, {80, 6379}) - without == {near.PORTS, *map(_port, (80, 6379))}
    assert near.names({BLUE}, ()) - without == {near.PORTS}
    assert near.names({BLUE}, range(near.NAMED_PORTS + 1)) == without


def _port(number: int) -> bytes:
    return f"\0vnicd-near/port/{number}".encode()
