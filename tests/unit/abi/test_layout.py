"""The layout of shared memory: constants that Python sees, and names that match their enums."""

from __future__ import annotations

import re
from pathlib import Path

from vnicd.native import counters, directory, memory
from vnicd.native.testing import ring
from vnicd.spec.partition import MAX_ADDRESSES

LAYOUT = (Path(__file__).parents[3] / "cext/abi/link_layout.h").read_text()


def constant(name: str) -> int:
    match = re.search(rf"#define {name} (\d+)", LAYOUT)
    assert match, name
    return int(match.group(1))


def test_python_and_c_agree_on_constants() -> None:
    assert constant("VN_MAX_ADDRESSES") == MAX_ADDRESSES
    assert constant("VN_MAX_PORTS") == directory.MAX_PORTS
    assert constant("VN_VNET_HDR") == ring.VNET_HEADER


def test_a_link_side_fits_one_huge_page() -> None:
    assert memory.LINK_SIZE <= memory.HUGE_PAGE
    assert memory.LINK_SIZE == ring.RING_OFFSET + ring.RING_SIZE + ring.RECORD_MAX


def test_a_record_holds_the_largest_super_frame() -> None:
    largest = 65535 + 14 + 4  # an IP packet of the greatest length, Ethernet, a VLAN tag
    assert largest + ring.VNET_HEADER < ring.PAYLOAD_MAX


def test_cursors_have_cache_lines_of_their_own() -> None:
    lines = [offset // 64 for offset in ring.OFFSETS.values()]
    assert len(set(lines)) == len(lines)
    assert 0 not in lines


def test_every_counter_has_one_name() -> None:
    for names in (counters.PORT_NAMES, counters.PEER_NAMES, counters.DROP_NAMES, counters.FAULT_NAMES):
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[a-z][a-z_]+", name) for name in names)
