"""Ports: numbers, names, MACs and addresses belong to one partition at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnicd.errors import Exists, NotFound, Resources, Taken, VnicdError
from vnicd.host.ports.port import Port, Ports
from vnicd.host.ports.state_file import Saved
from vnicd.native import directory
from vnicd.spec.partition import default_mac, make_partition

NAMES = st.sampled_from(["a", "b", "c", "d"])
ADDRESSES = st.sampled_from(["10.0.0.1/24", "10.0.0.1/16", "10.0.0.2/24", "fd00::1/64", "fd00::2/64"])
MACS = st.none() | st.sampled_from(["02:00:00:00:00:01", default_mac("/run/x", "a")])


@pytest.fixture
def ports() -> Ports:
    return Ports("/run/x")


def drop(ports: Ports, port: Port) -> None:
    ports.discard(port)
    port.counters.close()


def test_a_port_has_a_number_and_a_mac(ports: Ports) -> None:
    port = ports.reserve(make_partition("blue"))
    assert (port.number, port.spec.mac) == (1, default_mac("/run/x", "blue"))
    assert ports.get("blue") is port
    assert ports.reserve(make_partition("green", mac="02:00:00:00:00:07")).spec.mac == "02:00:00:00:00:07"
    assert [port.spec.name for port in ports] == ["blue", "green"]


def test_the_lowest_free_number_is_taken(ports: Ports) -> None:
    many = [ports.reserve(make_partition(f"p{n}")) for n in range(5)]
    drop(ports, many[1])
    drop(ports, many[3])
    assert [ports.reserve(make_partition(name)).number for name in ("x", "y", "z")] == [2, 4, 6]
    assert [port.number for port in ports] == [1, 2, 3, 4, 5, 6]


def test_all_ports_in_use(ports: Ports) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    many = [ports.reserve(make_partition(f"p{n}")) for n in range(1, directory.MAX_PORTS)]
    assert many[-1].number == directory.MAX_PORTS - 1
    with pytest.raises(Resources, match="255"):
        ports.reserve(make_partition("more"))
    drop(ports, many[99])
    again = ports.reserve(make_partition("more"))
    assert again.number == 100
    for port in list(ports):
        drop(ports, port)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("name", "addresses", "mac", "error", "words"),
    [
        ("blue", [], None, Exists, "blue"),
        ("x", [], "02:00:00:00:00:01", Taken, "02:00:00:00:00:01 belongs to partition blue"),
        ("x", ["10.0.0.1/24"], None, Taken, "10.0.0.1/24 belongs to partition blue"),
        ("x", ["10.0.0.9/24", "10.0.0.1/8"], None, Taken, "10.0.0.1/8 belongs to partition blue"),
        ("x", ["FD00:0:0::1/64"], None, Taken, "fd00::1/64 belongs to partition blue"),
    ],
)
def test_what_belongs_to_another(
    ports: Ports, name: str, addresses: list[object], mac: str | None, error: type[VnicdError], words: str
) -> None:
    ports.reserve(make_partition("blue", ["10.0.0.1/24", "fd00::1/64"], "02:00:00:00:00:01"))
    with pytest.raises(error, match=words):
        ports.reserve(make_partition(name, addresses, mac))
    assert [port.spec.name for port in ports] == ["blue"], "nothing is left of what could not be"


@given(st.lists(st.tuples(NAMES, st.lists(ADDRESSES, max_size=2), MACS, st.booleans()), max_size=12))
def test_nothing_ever_belongs_to_two(steps: list[tuple[str, list[object], str | None, bool]]) -> None:
    ports = Ports("/run/x")
    for name, addresses, mac, remove in steps:
        try:
            if remove:
                drop(ports, ports.get(name))
            else:
                ports.reserve(make_partition(name, addresses, mac))
        except VnicdError:
            pass
        alive = list(ports)
        assert {port.spec.name: port for port in alive} == ports.by_name
        assert {port.number: port for port in alive} == ports.by_number
        assert len({port.spec.mac for port in alive}) == len(alive)
        texts = [text.split("/")[0] for port in alive for text in port.spec.addresses]
        assert len(texts) == len(set(texts))


@pytest.mark.parametrize("name", ["nobody", "", None, 7, ["blue"], {}])
def test_who_is_not_there_is_not_found(ports: Ports, name: object) -> None:
    ports.reserve(make_partition("blue"))
    with pytest.raises(NotFound):
        ports.get(name)


def test_what_is_told_of_a_port_is_what_the_contract_says(ports: Ports) -> None:
    port = ports.reserve(make_partition("blue", ["10.77.0.1/24"], "02:00:00:00:00:01", netns="box"))
    told = port.to_json()
    expected = {"port": 1, "name": "blue", "state": "starting", "pid": None, "mac": "02:00:00:00:00:01",
                "addresses": ["10.77.0.1/24"], "mtu": 1500, "ifname": "vnic0", "netns": "/run/netns/box",
                "netns_owned": False, "generation": 0, "restarts": 0}  # fmt: skip
    assert {key: told[key] for key in expected} == expected
    port.watched(77, 99, -1)
    port.linked(4096)
    port.daemon_came_up()
    assert [port.to_json()[key] for key in ("pid", "page_size", "state")] == [77, 4096, "up"]


def test_what_is_saved_of_a_port(ports: Ports) -> None:
    port = ports.reserve(make_partition("blue"))
    port.added()
    port.watched(77, 99, -1)
    assert port.saved == Saved(port.spec, 1, False, 77, 99)


def test_the_tap_is_closed_once(ports: Ports) -> None:
    port = ports.reserve(make_partition("blue"))
    port.close_tap()
    fd = os.open("/dev/null", os.O_RDONLY)
    port.take_tap(fd)
    port.close_tap()
    port.close_tap()
    assert port.tap == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_discarding_the_old_one_again_leaves_the_new_one(ports: Ports) -> None:
    """Two removals of one partition at once end one after the other, and it may be added again in between."""
    old = ports.reserve(make_partition("blue"))
    ports.discard(old)
    new = ports.reserve(make_partition("blue"))
    ports.discard(old)
    assert ports.get("blue") is new
