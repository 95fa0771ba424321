"""Counters: what the one writer counts, every reader sees; and only counters of this version are taken for them."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest

from tests.framework.descriptors import open_fds
from vnicd.native import counters, directory, memory

# Offsets of cext/abi/link_layout.h.
VALUES, DROPS, PEERS, PEER_SIZE, PEER_DROPS = 64, 320, 576, 320, 96


def view(region: Any) -> memoryview:
    return memoryview(region)


def count(region: memory.Region, offset: int, value: int) -> None:
    """What the loop does."""
    struct.pack_into("Q", view(region), offset, value)


def test_names_are_there_and_differ() -> None:
    for names in (counters.PORT_NAMES, counters.PEER_NAMES, counters.DROP_NAMES, counters.FAULT_NAMES):
        assert names and len(set(names)) == len(names)
        assert all(name.isidentifier() for name in names)
    assert {"tap_rx_frames", "tap_rx_bytes", "tap_tx_frames", "tap_tx_bytes"} <= set(counters.PORT_NAMES)
    assert {"tx_frames", "tx_bytes", "tx_relayed", "wakeups"} <= set(counters.PEER_NAMES)
    assert {"bad_source", "reserved_multicast", "ring_full", "no_destination"} <= set(counters.DROP_NAMES)


def test_new_counters_are_zero() -> None:
    region = counters.create()
    assert counters.port(region) == dict.fromkeys(counters.PORT_NAMES, 0)
    assert counters.drops(region) == dict.fromkeys(counters.DROP_NAMES, 0)
    for port in (0, 1, directory.MAX_PORTS - 1):
        assert counters.peer(region, port) == (dict.fromkeys(counters.PEER_NAMES, 0), {})


def test_a_reader_sees_what_the_daemon_counts_and_can_not_write() -> None:
    before = open_fds()
    made = counters.create()
    daemon = counters.open_shared(os.dup(made.fd), writable=True)
    reader = counters.open_shared(os.dup(made.fd))
    assert view(reader).readonly
    for n in range(len(counters.PORT_NAMES)):
        count(daemon, VALUES + 8 * n, 1000 + n)
    assert list(counters.port(reader).values()) == [1000 + n for n in range(len(counters.PORT_NAMES))]
    assert counters.port(made) == counters.port(reader)
    count(daemon, VALUES, 2**64 - 1)
    assert counters.port(reader)[counters.PORT_NAMES[0]] == 2**64 - 1
    for region in (made, daemon, reader):
        region.close()
    assert open_fds() == before


def test_each_peer_has_its_own() -> None:
    region = counters.create()
    for port in (0, 7, directory.MAX_PORTS - 1):
        for n in range(len(counters.PEER_NAMES)):
            count(region, PEERS + PEER_SIZE * port + 8 * n, 100 * port + n)
        count(region, PEERS + PEER_SIZE * port + PEER_DROPS + 8, port + 1)
    for port in (0, 7, directory.MAX_PORTS - 1):
        values, lost = counters.peer(region, port)
        assert values == {name: 100 * port + n for n, name in enumerate(counters.PEER_NAMES)}
        assert lost == {counters.DROP_NAMES[1]: port + 1}
    assert counters.peer(region, 8) == (dict.fromkeys(counters.PEER_NAMES, 0), {})


def test_drops_are_those_of_the_daemon_and_of_all_peers() -> None:
    region = counters.create()
    last = len(counters.DROP_NAMES) - 1
    count(region, DROPS, 5)
    count(region, DROPS + 8 * last, 7)
    for port in range(directory.MAX_PORTS):
        count(region, PEERS + PEER_SIZE * port + PEER_DROPS, 1)
    assert counters.drops(region) == {
        **dict.fromkeys(counters.DROP_NAMES, 0),
        counters.DROP_NAMES[0]: 5 + directory.MAX_PORTS,
        counters.DROP_NAMES[last]: 7,
    }


def test_the_last_peer_lies_inside_the_region() -> None:
    assert counters.create().size >= PEERS + PEER_SIZE * directory.MAX_PORTS


@pytest.mark.parametrize("port", [-1, directory.MAX_PORTS, 2**31 - 1])
def test_a_peer_out_of_range(port: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        counters.peer(counters.create(), port)


@pytest.mark.parametrize("offset", [6, 8, 10])
def test_counters_of_an_earlier_version_are_a_part_of_ours(offset: int) -> None:
    """What a partition daemon has kept that was started before an upgrade."""
    made = counters.create()
    (now,) = struct.unpack_from("H", view(made), offset)
    struct.pack_into("H", view(made), offset, now - 1)
    count(made, VALUES, 7)
    assert counters.port(counters.open_shared(os.dup(made.fd)))[counters.PORT_NAMES[0]] == 7


@pytest.mark.parametrize("offset", [0, 4, 6, 8, 10])
def test_counters_of_another_version_are_refused(offset: int) -> None:
    """Magic, version, and the numbers of port, peer and drop counters."""
    before = open_fds()
    region = counters.create()
    content = view(region)
    content[offset] += 1
    with pytest.raises(memory.Refused, match="version"):
        counters.open_shared(os.dup(region.fd))
    content[offset] -= 1
    counters.open_shared(os.dup(region.fd)).close()
    del content
    region.close()
    assert open_fds() == before


def test_what_is_no_counters_is_refused() -> None:
    before = open_fds()
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.write(unsealed, view(counters.create()))
    small = memory.create(4096)
    for fd in (os.dup(small.fd), os.open("/dev/null", os.O_RDONLY), unsealed):
        with pytest.raises(memory.Refused):
            counters.open_shared(fd)
    small.close()
    assert open_fds() == before


def test_closed_counters_can_not_be_read() -> None:
    region = counters.create()
    region.close()
    for read in (counters.port, counters.drops, lambda region: counters.peer(region, 1)):
        with pytest.raises(ValueError, match="closed"):
            read(region)
