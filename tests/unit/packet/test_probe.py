"""Probes: frames as the loop's own inspection reads them, what is read out of frames, and the filter's program."""

from __future__ import annotations

import struct

import pytest

from vnicd.native.testing import packets
from vnicd.packet import announcement, probe

A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"
MARK = b"vnicd0123456"
ADDRESSES = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd77::1", "fd77::2")}
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def request(version: int, size: int = 0) -> bytes:
    return probe.frame((A, B), ADDRESSES[version], probe.echo(version, 7, 1, MARK, size))


def packet(version: int, protocol: int, body: bytes, back: bool = False) -> bytes:
    """A frame with this behind its IP header, from the first address to the second, or the other way round."""
    data = bytearray(probe.frame((A, B), ADDRESSES[version][:: -1 if back else 1], body))
    data[23 if version == 4 else 20] = protocol
    data[-len(body) :] = body  # not with the checksum of ICMPv6
    return bytes(data)


@VERSIONS
def test_a_request_is_what_it_says(version: int) -> None:
    data = request(version)
    found = packets.inspect(data)
    assert found["kind"] == (packets.FRAME_IPV4 if version == 4 else packets.FRAME_IPV6)
    seen = probe.parse(data)
    assert seen == probe.Seen("request", *ADDRESSES[version], MARK, target_mac=B)


@VERSIONS
def test_checksums(version: int) -> None:
    data = request(version, 501)
    if version == 4:
        assert announcement.checksum(data[14:34]) == 0
        assert announcement.checksum(data[34:] + b"\0" * (len(data) % 2)) == 0
        return
    pseudo = data[22:54] + struct.pack(">II", len(data) - 54, 58)
    assert announcement.checksum(pseudo + data[54:] + b"\0" * (len(data) % 2)) == 0


@VERSIONS
def test_the_size_is_that_of_the_ip_packet(version: int) -> None:
    assert len(request(version, 1500)) == 14 + 1500


@VERSIONS
def test_a_reply(version: int) -> None:
    reply = {4: 0, 6: 129}[version]
    message = bytes([reply, 0]) + probe.echo(version, 7, 1, MARK)[2:]
    seen = probe.parse(packet(version, {4: 1, 6: 58}[version], message, back=True))
    assert seen is not None and (seen.what, seen.mark, seen.source) == ("reply", MARK, ADDRESSES[version][1])
    as_received = packet(version, 1, message)[14:] if version == 4 else message
    assert probe.mark_of(version, as_received) == MARK
    assert probe.mark_of(version, b"") == probe.mark_of(version, probe.echo(6, 7, 1, MARK)) == b""


@VERSIONS
def test_an_error_about_a_probe(version: int) -> None:
    kind, code = {4: (3, 4), 6: (2, 0)}[version]
    head = (
        struct.pack("!BBHHH", kind, code, 0, 0, 1300)
        if version == 4
        else struct.pack("!BBHI", kind, code, 0, 1300)
    )
    seen = probe.parse(packet(version, {4: 1, 6: 58}[version], head + request(version)[14:]))
    assert seen is not None and seen.what == "error"
    assert (seen.mark, seen.kind, seen.code, seen.mtu) == (MARK, kind, code, 1300)


def test_an_error_that_quotes_eight_bytes_of_a_segment() -> None:
    quoted = packet(4, 6, struct.pack("!HHI", 40000, 80, 1))[14:]
    seen = probe.parse(packet(4, 1, struct.pack("!BBHI", 3, 13, 0, 0) + quoted))
    assert seen is not None and (seen.what, seen.ports) == ("error", (40000, 80))


@pytest.mark.parametrize(("flags", "what"), [(0x02, "syn"), (0x12, "syn-ack"), (0x14, "reset"), (0x10, "")])
@VERSIONS
def test_tcp(version: int, flags: int, what: str) -> None:
    body = struct.pack("!HHIIBBHHH", 40000, 80, 1, 0, 0x50, flags, 100, 0, 0)
    seen = probe.parse(packet(version, 6, body))
    assert (seen.what if seen else "", seen.ports if seen else ()) == (what, (40000, 80) if what else ())


def test_arp() -> None:
    question = b"\xff" * 6 + bytes(6) + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
    question += bytes(6) + bytes([10, 0, 0, 1]) + bytes(6) + bytes([10, 0, 0, 2])
    seen = probe.parse(question)
    assert seen is not None and (seen.what, seen.about) == ("ask", "10.0.0.2")
    answer = question[:20] + struct.pack("!H", 2) + question[22:]
    seen = probe.parse(answer)
    assert seen is not None and (seen.what, seen.about) == ("tell", "10.0.0.1")
    assert probe.parse(announcement.frame(A, "10.0.0.1")) is None, "nobody is asked"


def test_neighbour_discovery() -> None:
    seen = probe.parse(announcement.frame(A, "fd77::1"))
    assert seen is not None and (seen.what, seen.about) == ("tell", "fd77::1")


@VERSIONS
def test_frames_may_be_cut_off_anywhere(version: int) -> None:
    whole = packet(
        version,
        {4: 1, 6: 58}[version],
        bytes([3 if version == 4 else 1, 0]) + bytes(6) + request(version)[14:],
    )
    for length in range(len(whole)):
        probe.parse(whole[:length])
    for _ in range(len(whole)):
        probe.parse(bytes(255 - byte for byte in whole))


# ------------------------------------------------------------------------------------------------ the filter


def takes(program: bytes, frame: bytes) -> bool:
    """Whether a program takes a frame, as the kernel runs it; a read beyond the end takes nothing."""
    a = x = at = 0
    code = [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]
    while True:
        op, true, false, k = code[at]
        at += 1
        try:
            match op:
                case 0x28:
                    (a,) = struct.unpack_from("!H", frame, k)
                case 0x30:
                    a = frame[k]
                case 0x48:
                    (a,) = struct.unpack_from("!H", frame, x + k)
                case 0xB1:
                    x = 4 * (frame[k] & 15)
                case 0x01:
                    x = k
                case 0x15:
                    at += true if a == k else false
                case 0x45:
                    at += true if a & k else false
                case 0x06:
                    return k > 0
                case _:
                    raise AssertionError(f"no such instruction: {op:#x}")
        except (struct.error, IndexError):
            return False


@VERSIONS
def test_the_filter_takes_icmp_and_arp_and_the_ports(version: int) -> None:
    program = probe.watch_filter([40000, 40001])
    assert takes(program, request(version)) and takes(program, announcement.frame(A, ADDRESSES[version][0]))
    for ports, hit in (((40000, 80), True), ((80, 40001), True), ((80, 81), False)):
        assert takes(program, packet(version, 6, struct.pack("!HH", *ports) + bytes(16))) is hit
        assert not takes(program, packet(version, 17, struct.pack("!HH", *ports) + bytes(16)))
        assert not takes(probe.watch_filter([]), packet(version, 6, struct.pack("!HH", *ports) + bytes(16)))


def test_the_filter_leaves_out_later_fragments_and_other_protocols() -> None:
    program = probe.watch_filter([40000])
    later = bytearray(packet(4, 6, struct.pack("!HH", 40000, 80) + bytes(16)))
    later[20:22] = struct.pack("!H", 100)
    assert not takes(program, bytes(later))
    assert not takes(program, bytes(12) + b"\x88\xcc" + bytes(40))
