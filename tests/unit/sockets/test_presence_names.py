"""The names that tell which addresses are none of the fabric's."""

from __future__ import annotations

from vnicd.sockets import presence_names
from vnicd.sockets.abi import packed

BLUE = packed("10.77.0.2")


def test_a_small_fabric_names_each_address() -> None:
    six = packed("fd77:1::2")
    expected = {"here", "exact", "0a4d", "0a4d0002", "fd770001", "fd770001000000000000000000000002"}
    assert presence_names.names({BLUE, six}, None) == {
        f"\0vnicd-presence/{text}".encode() for text in expected
    }


def test_a_large_fabric_names_its_networks() -> None:
    many = {bytes([10, 77, 1, number]) for number in range(presence_names.NAMED_ADDRESSES)}
    assert presence_names.names(many, ()) >= presence_names.FLAGS
    assert presence_names.names({BLUE, *many}, {80}) == {presence_names.HERE, b"\0vnicd-presence/0a4d"}


def test_without_addresses_only_the_broker_has_a_name() -> None:
    assert presence_names.names(set(), {80}) == {presence_names.HERE}


def test_ports_have_names_unless_there_are_many() -> None:
    without = presence_names.names({BLUE}, None)
    assert presence_names.names({BLUE}, {80, 6379}) - without == {
        presence_names.PORTS,
        *map(_port, (80, 6379)),
    }
    assert presence_names.names({BLUE}, ()) - without == {presence_names.PORTS}
    assert presence_names.names({BLUE}, range(presence_names.NAMED_PORTS + 1)) == without


def _port(number: int) -> bytes:
    return f"\0vnicd-presence/port/{number}".encode()
