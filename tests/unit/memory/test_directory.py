"""The directory: what the host writes is what others read, whole, and only a directory is taken for one."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framework.descriptors import open_fds
from vnicd.native import counters, directory, memory
from vnicd.spec.partition import MAX_ADDRESSES

CHANGE = 64
"""Offset of vn_directory.change."""

IPV4 = st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(0, 32))
IPV6 = st.builds("{}/{}".format, st.ip_addresses(v=6), st.integers(0, 128))
ENTRIES = st.fixed_dictionaries(
    {
        "state": st.sampled_from([directory.LIVE, directory.DOWN]),
        "mac": st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":")),
        "generation": st.integers(0, 2**31 - 1),
        "mtu": st.integers(576, 65000),
        "addresses": st.lists(IPV4 | IPV6, max_size=MAX_ADDRESSES),
    }
)
MAC = "02:00:00:00:00:01"


def view(region: Any) -> memoryview:
    return memoryview(region)


def change(region: memory.Region) -> int:
    number: int = struct.unpack_from("Q", view(region), CHANGE)[0]
    return number


@given(st.dictionaries(st.integers(0, directory.MAX_PORTS - 1), ENTRIES, max_size=5))
def test_what_is_put_is_read(entries: dict[int, dict[str, Any]]) -> None:
    writer = directory.Writer()
    for port, entry in entries.items():
        writer.put(port, **entry)
    assert directory.read(writer.region) == entries
    for port in entries:
        writer.free(port)
    assert directory.read(writer.region) == {}


def test_others_see_each_change_and_can_not_write() -> None:
    before = open_fds()
    writer = directory.Writer()
    region = directory.open_shared(os.dup(writer.region.fd))
    numbers = [change(region)]
    for state in (directory.LIVE, directory.DOWN, directory.FREE):
        if state == directory.FREE:
            writer.free(3)
        else:
            writer.put(3, state, MAC, 1, 1500, ["10.77.0.3/24", "fd00::3/64"])
        assert directory.read(region) == directory.read(writer.region)
        numbers.append(change(region))
    assert all(number % 2 == 0 for number in numbers), "odd is only while it is being written"
    assert numbers == sorted(set(numbers)), "each change has a number of its own"
    assert view(region).readonly
    region.close()
    writer.region.close()
    assert open_fds() == before


def test_an_entry_keeps_nothing_of_the_one_before() -> None:
    writer = directory.Writer()
    many = [f"10.0.{n}.1/24" for n in range(MAX_ADDRESSES)]
    writer.put(9, directory.LIVE, MAC, 5, 9000, many)
    writer.put(9, directory.LIVE, MAC, 6, 1500, [])
    writer.put(9, directory.LIVE, MAC, 7, 1500, ["10.9.9.9/8"])
    entry = {"state": directory.LIVE, "mac": MAC, "generation": 7, "mtu": 1500, "addresses": ["10.9.9.9/8"]}
    assert directory.read(writer.region) == {9: entry}
    assert b"\x0a\x00\x05\x01" not in bytes(view(writer.region))


@pytest.mark.parametrize(
    ("port", "changes"),
    [(-1, {}), (directory.MAX_PORTS, {}), (1, {"addresses": ["10.0.0.1/24"] * (MAX_ADDRESSES + 1)}),
     (1, {"addresses": ["nonsense"]}), (1, {"mac": "nonsense"}), (1, {"generation": 2**40}), (1, {"mtu": 2**40})],
)  # fmt: skip
def test_what_can_not_be_put_leaves_the_directory_as_it_was(port: int, changes: dict[str, Any]) -> None:
    writer = directory.Writer()
    writer.put(1, directory.LIVE, MAC, 1, 1500, ["10.0.0.1/24"])
    before = bytes(view(writer.region))
    entry = {"state": directory.LIVE, "mac": MAC, "generation": 1, "mtu": 1500, "addresses": [], **changes}
    with pytest.raises((ValueError, OverflowError)):
        writer.put(port, **entry)
    assert bytes(view(writer.region)) == before


@pytest.mark.parametrize("mac", ["", "02:00", "02:00:00:00:00:01:02"])
def test_a_mac_of_another_length_is_refused(mac: str) -> None:
    """Six bytes are copied, however many there are; state.json can hold a partition without a MAC."""
    with pytest.raises(ValueError):
        directory.Writer().put(1, directory.LIVE, mac, 1, 1500, [])


def test_a_port_out_of_bounds_can_not_be_freed() -> None:
    """Writer.put() checks its port, free() does not: beyond the last port (not tried here) it is a SIGSEGV."""
    with pytest.raises(ValueError):
        directory.Writer().free(-1)


def not_a_directory(kind: str) -> int:
    """The fd of some memory that is none."""
    if kind == "counters":
        region = counters.create()
    elif kind == "zeros":
        region = memory.create(directory.SIZE)
    elif kind == "writable":
        region = memory.create(directory.SIZE, one_writer=False)
        view(region)[:] = view(directory.Writer().region)
    elif kind == "small":
        region = memory.create(4096)
    elif kind == "version":
        region = memory.create(directory.SIZE)
        view(region)[:8] = struct.pack("IHH", 0x52494456, 99, directory.MAX_PORTS)
    else:
        return {"file": lambda: os.open("/dev/null", os.O_RDONLY), "unsealed": unsealed}[kind]()
    return os.dup(region.fd)


def unsealed() -> int:
    """A directory in memory that its maker could cut short."""
    fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.write(fd, view(directory.Writer().region))
    return fd


@pytest.mark.parametrize("kind", ["counters", "zeros", "writable", "small", "version", "file", "unsealed"])
def test_only_a_directory_is_taken_for_one(kind: str) -> None:
    before = open_fds()
    with pytest.raises(memory.Refused):
        directory.open_shared(not_a_directory(kind))
    assert open_fds() == before, "the descriptor was taken over, so it is closed"
