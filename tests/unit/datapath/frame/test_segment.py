"""Super-frames cut into segments, compared with segments that are built by themselves."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framework.traffic.superframes import (
    ACK,
    CWR,
    ENCAPSULATED,
    FIN,
    NEEDS_CSUM,
    PSH,
    TCP,
    TUNNELS,
    UDP,
    Super,
    ones_sum,
)
from vnicd.native.testing import packets

PAYLOAD = bytes(index * 31 % 251 for index in range(5000))
PLAIN = [Super(PAYLOAD, 1400, outer=version, transport=kind) for version in (4, 6) for kind in (TCP, UDP)]
TUNNELLED = [
    Super(PAYLOAD, 1400, outer, tunnel, inner, TCP, checked)
    for tunnel in TUNNELS
    for outer in (4, 6)
    for inner in (4, 6)
    for checked in ((False, True) if tunnel in ENCAPSULATED else (False,))
]


def name_of(whole: Super) -> str:
    return f"{whole.tunnel or 'plain'}-{whole.outer}-{whole.inner}-{whole.transport}-{whole.udp_checksum}"


def cut(whole: Super) -> list[bytes]:
    """Its segments; their vnet headers say nothing."""
    made = packets.segments(whole.vnet(), whole.frame())
    assert all(vnet == bytes(10) for vnet, _ in made)
    return [frame for _, frame in made]


def finished(vnet: bytes, frame: bytes) -> bytes:
    """A frame with the checksum that its vnet header leaves to be written."""
    flags, kind, _, gso_size, start, offset = struct.unpack("=BBHHHH", vnet)
    assert (flags, kind, gso_size) == (NEEDS_CSUM, 0, 0)
    value = 0xFFFF - ones_sum(frame[start:])
    if offset == 6:
        value = value or 0xFFFF
    return frame[: start + offset] + value.to_bytes(2, "big") + frame[start + offset + 2 :]


@pytest.mark.parametrize("whole", PLAIN + TUNNELLED, ids=name_of)
def test_segments_are_those_it_stands_for(whole: Super) -> None:
    assert cut(whole) == whole.segments()


@pytest.mark.parametrize("whole", PLAIN + TUNNELLED, ids=name_of)
def test_a_checksum_that_is_left_to_the_receiver(whole: Super) -> None:
    """He finds its place in the vnet header, and all others right already."""
    made = packets.segments(whole.vnet(), whole.frame(), True)
    assert [finished(vnet, frame) for vnet, frame in made] == whole.segments()


@given(
    payload=st.binary(min_size=1, max_size=3000),
    gso_size=st.integers(60, 3100),
    outer=st.sampled_from((4, 6)),
    inner=st.sampled_from((4, 6)),
    tunnel=st.sampled_from(("", *TUNNELS)),
    transport=st.sampled_from((TCP, UDP)),
    udp_checksum=st.booleans(),
    flags=st.integers(0, 255),
    seq=st.integers(0, 0xFFFFFFFF),
    ident=st.integers(0, 0xFFFF),
    options=st.sampled_from((b"", bytes(4), bytes(range(40)))),
    ip_options=st.sampled_from((b"", b"\1\1\1\0", bytes(40))),
)
def test_any_super_frame(**words: object) -> None:
    whole = Super(**words)  # type: ignore[arg-type]
    assert cut(whole) == whole.segments()


@pytest.mark.parametrize("flags", [ACK, ACK | FIN, ACK | PSH | FIN | CWR, 0xFF])
@pytest.mark.parametrize("size", [1, 1400, 1401, 2800])
def test_flags_of_first_and_last(flags: int, size: int) -> None:
    whole = Super(PAYLOAD[:size], 1400, tunnel="vxlan", flags=flags)
    assert cut(whole) == whole.segments()


def test_without_payload_it_is_one_segment() -> None:
    whole = Super(b"", 1400, flags=ACK | FIN | CWR)
    (only,) = cut(whole)
    assert only == whole.build(b"", whole.seq, whole.flags, 0, False)


@pytest.mark.parametrize("whole", PLAIN, ids=name_of)
def test_a_checksum_that_nobody_has_begun(whole: Super) -> None:
    """Of a plain super-frame it is made anew: some NICs put together frames and leave the last one's."""
    vnet, frame = bytearray(whole.vnet()), bytearray(whole.frame())
    start, offset = struct.unpack_from("=HH", vnet, 6)
    vnet[0], vnet[6:10] = 0, bytes(4)
    frame[start + offset : start + offset + 2] = b"\xde\xad"
    assert [each for _, each in packets.segments(vnet, frame)] == whole.segments()


@pytest.mark.parametrize("whole", PLAIN + TUNNELLED, ids=name_of)
def test_a_tunnel_is_recognised(whole: Super) -> None:
    frame = whole.frame()
    assert packets.is_encapsulated(whole.vnet(), frame) == bool(whole.tunnel)
    assert packets.is_encapsulated(whole.vnet(), frame[: packets.PEEK], len(frame)) == bool(whole.tunnel)
    assert not packets.is_encapsulated(bytes(10), frame), "it is no super-frame"


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


VXLAN = Super(PAYLOAD, 1400, tunnel="vxlan")
GRE_CSUM = Super(PAYLOAD, 1400, tunnel="gre-csum")
UNCUT = {
    "no kind": (VXLAN, 1, b"\0"),
    "fragments of UDP": (VXLAN, 1, b"\3"),
    "TCP of the other version": (VXLAN, 1, b"\4"),
    "another transport": (VXLAN, 1, b"\5"),
    "segments of nothing": (VXLAN, 4, b"\0\0"),
    "too many segments": (VXLAN, 4, b"\4\0"),
    "the checksum elsewhere": (VXLAN, 8, b"\6\0"),
    "it begins before IP": (VXLAN, 6, b"\x0e\0"),
    "it begins beyond the end": (VXLAN, 6, b"\xff\xff"),
    "it begins at the end": (VXLAN, 6, struct.pack("=H", len(VXLAN.frame()) - 4)),
    "it begins anywhere": (VXLAN, 6, struct.pack("=H", len(VXLAN.frame()) - 400)),
    "a tunnel without it": (VXLAN, 0, b"\0"),
}
INVALID = {
    "a VLAN tag": (VXLAN, 12, b"\x81\0"),
    "no IP": (VXLAN, 12, b"\x88\xb5"),
    "a short IP header": (VXLAN, 14, b"\x44"),
    "a later fragment": (VXLAN, 20, b"\0\1"),
    "an unknown outer transport": (VXLAN, 23, b"\x32"),
    "an inner length": (VXLAN, 34 + 16 + 14 + 2, b"\0\7"),
    "an inner protocol": (VXLAN, 34 + 16 + 14 + 9, b"\x11"),
    "a short TCP header": (VXLAN, 34 + 16 + 14 + 20 + 12, b"\x40"),
    "a TCP header beyond the end": (Super(b"", 1400, options=b""), 34 + 12, b"\xf0"),
    "numbered GRE": (GRE_CSUM, 34, b"\x90"),
    "another GRE": (GRE_CSUM, 35, b"\1"),
}


@pytest.mark.parametrize(("whole", "place", "new"), UNCUT.values(), ids=UNCUT)
def test_a_vnet_header_that_makes_no_sense(whole: Super, place: int, new: bytes) -> None:
    assert packets.segments(patched(whole.vnet(), place, new), whole.frame()) == []


@pytest.mark.parametrize(("whole", "place", "new"), INVALID.values(), ids=INVALID)
def test_a_frame_that_makes_no_sense(whole: Super, place: int, new: bytes) -> None:
    assert packets.segments(whole.vnet(), patched(whole.frame(), place, new)) == []


@pytest.mark.parametrize("whole", PLAIN + TUNNELLED, ids=name_of)
def test_a_frame_that_ends_early(whole: Super) -> None:
    """Nothing beyond its end is looked at (a sanitizer sees it), and no segment is longer than it was."""
    frame = whole.frame()
    for length in range(whole.headers() + 1):
        short = frame[:length]
        assert all(len(each) <= length for _, each in packets.segments(whole.vnet(), short))


@given(
    which=st.integers(0, len(PLAIN + TUNNELLED) - 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    header=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 255)), max_size=2),
    end=st.integers(0, 5300),
)
def test_what_a_hostile_sender_makes_of_it(
    which: int, changes: list[tuple[float, int]], header: list[tuple[int, int]], end: int
) -> None:
    """Its segments are bounded in number and size."""
    whole = (PLAIN + TUNNELLED)[which]
    vnet, frame = bytearray(whole.vnet()), bytearray(whole.frame()[:end])
    for place, value in changes:
        if frame:
            frame[int(place * min(whole.headers(), len(frame) - 1))] = value
    for at, value in header:
        vnet[at] = value
    made = packets.segments(vnet, frame)
    assert len(made) <= 1024 and all(len(each) <= len(frame) for _, each in made)


BIG = [
    Super(PAYLOAD * 40, gso_size, version, flags=flags, ip_options=options)
    for version in (4, 6)
    for gso_size in (1448, 9000)
    for flags in (ACK | PSH, ACK | FIN | CWR)
    for options in ((b"", b"\1\1\1\0") if version == 4 else (b"",))
]


@pytest.mark.parametrize(
    "whole", [*BIG, *PLAIN], ids=lambda whole: f"{whole.outer}-{whole.gso_size}-{whole.flags}"
)
def test_big_tcp(whole: Super) -> None:
    """It is cut into super-frames, and those stand for the same segments."""
    payload = packets.strip_jumbo(whole.vnet() + whole.frame())
    made = packets.segments(payload[:10], payload[10:], True, True)
    assert [frame for _, frame in made] == whole.super_segments()
    assert len(made) == (4 if len(whole.payload) > 0xFFFF else 1)
    segments = [
        frame
        for vnet, frame in made
        for _, frame in (packets.segments(vnet, frame) if vnet[1] else [(vnet, finished(vnet, frame))])
    ]
    assert (
        segments == whole.segments() == [frame for _, frame in packets.segments(payload[:10], payload[10:])]
    )


@pytest.mark.parametrize("whole", BIG, ids=name_of)
def test_a_header_of_a_jumbogram_that_ends_early(whole: Super) -> None:
    payload = whole.vnet() + whole.frame()
    for length in range(10 + 14 + 40 + 8 + 20):
        assert len(packets.strip_jumbo(payload[:length])) in (length, length - 8)


@pytest.mark.parametrize(
    ("place", "new"), [(12, b"\x08\0"), (18, b"\0\7"), (55, b"\1"), (56, b"\1"), (57, b"\0")]
)
def test_what_is_no_jumbogram_stays(place: int, new: bytes) -> None:
    """But for its length, when that is not told at all."""
    whole = BIG[-1]
    payload = whole.vnet() + patched(whole.frame(), place, new)
    got = packets.strip_jumbo(payload)
    assert got == payload or got == patched(payload, 10 + 18, b"\xff\xff")
