"""The hosting daemon's loop with an uplink, on sockets: where frames go, whose they are, what is refused."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.framework.datapath.peer import VNET, frame, mac_bytes
from tests.framework.datapath.uplinks import HOST, NIC, UplinkBench
from tests.framework.waiting import holds_for, wait_until
from vnicd.native import counters
from vnicd.native.testing import ring

A, B, OUT = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:99"
BROADCAST, GROUP = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb"
IP_A, IP_B, IP_OUT = "10.0.0.1", "10.0.0.2", "10.0.0.9"


@pytest.fixture
def bridge() -> Iterator[UplinkBench]:
    with UplinkBench({1: A, 2: B}) as bench:
        yield bench


@pytest.fixture
def jumbo() -> Iterator[UplinkBench]:
    with UplinkBench({1: A, 2: B}, mtu=65000) as bench:
        yield bench


@pytest.fixture
def shared() -> Iterator[UplinkBench]:
    with UplinkBench({1: A, 2: B}, shared=True) as bench:
        bench.addresses(1, f"{IP_A}/24", "2001:db8::1/64")
        bench.addresses(2, f"{IP_B}/24")
        yield bench


def ipv4(to: str, source: str, target_ip: str, source_ip: str, payload: bytes = bytes(8)) -> bytes:
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, 17, 0,
        socket.inet_aton(source_ip), socket.inet_aton(target_ip),
    )  # fmt: skip
    return mac_bytes(to) + mac_bytes(source) + b"\x08\x00" + header + payload


def arp(op: int, to: str, source: str, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    body = struct.pack(">HHBBH", 1, 0x800, 6, 4, op)
    for mac, ip in (sender, target):
        body += mac_bytes(mac) + socket.inet_aton(ip)
    return mac_bytes(to) + mac_bytes(source) + b"\x08\x06" + body


def test_what_is_for_no_port_leaves_by_the_uplink(bridge: UplinkBench) -> None:
    bridge.peers[1].send(frame(OUT, A, b"out"))
    assert bridge.outbound() == frame(OUT, A, b"out")
    wait_until(lambda: counters.peer(bridge.counters, 1)[0]["up_frames"] == 1, 5, "it is counted, too")


def test_partitions_do_not_meet_by_way_of_the_uplink(bridge: UplinkBench) -> None:
    bridge.peers[1].send(frame(B, A, b"inside"))
    assert bridge.receive(2)[2] == frame(B, A, b"inside")
    assert bridge.outbound_peek() is None


def test_a_broadcast_reaches_ports_machine_and_uplink(bridge: UplinkBench) -> None:
    bridge.peers[1].send(frame(BROADCAST, A))
    assert bridge.outbound() == bridge.tap_receive() == bridge.receive(2)[2] == frame(BROADCAST, A)
    assert bridge.peers[1].receive() is None


def test_a_forged_source_does_not_leave(bridge: UplinkBench) -> None:
    bridge.peers[1].send(frame(OUT, B))
    bridge.wait_for_drop("bad_source")
    assert bridge.outbound_peek() is None


def test_the_machine_and_a_partition_talk(bridge: UplinkBench) -> None:
    bridge.tap_send(frame(A, HOST, b"from the machine"))
    assert bridge.receive(1) == (1, 0, frame(A, HOST, b"from the machine"))
    bridge.peers[1].send(frame(HOST, A, b"to the machine"))
    assert bridge.tap_receive() == frame(HOST, A, b"to the machine")


def test_the_machine_has_a_way_out_of_its_own(bridge: UplinkBench) -> None:
    bridge.tap_send(frame(OUT, HOST))
    bridge.wait_for_drop("no_destination")
    bridge.tap_send(frame(BROADCAST, HOST))
    assert bridge.receive(1)[2] == frame(BROADCAST, HOST)
    assert bridge.outbound_peek() is None


def test_inbound_frames_reach_whom_they_are_for(bridge: UplinkBench) -> None:
    for text in (b"one", b"two"):  # the second straight into the ring
        bridge.inbound(frame(A, OUT, text))
        assert bridge.receive(1) == (1, 0, frame(A, OUT, text))
    bridge.inbound(frame(B, OUT, b"in the wrong rx queue"))
    assert bridge.receive(2)[2] == frame(B, OUT, b"in the wrong rx queue")
    bridge.inbound(frame(GROUP, OUT))
    assert bridge.receive(1)[2] == bridge.receive(2)[2] == frame(GROUP, OUT)
    assert bridge.tap_peek() is None, "the machine hears the NIC by itself"


def test_inbound_frames_for_nobody_are_not_delivered(bridge: UplinkBench) -> None:
    for data in (frame(OUT, OUT), frame(HOST, OUT), frame(B, A), frame("01:80:c2:00:00:00", OUT)):
        bridge.inbound(data)
    bridge.inbound(frame(A, OUT, b"last"))
    assert bridge.receive(1)[2] == frame(A, OUT, b"last")
    assert bridge.peers[2].receive() is None and bridge.tap_peek() is None


def test_a_port_that_does_not_read_holds_up_only_its_own_rx_queue(bridge: UplinkBench) -> None:
    bridge.inbound(frame(A, OUT), queue=1)
    bridge.receive(1)
    for _ in range(20):
        bridge.queues[1][0].setblocking(False)
        try:
            bridge.inbound(frame(A, OUT, bytes(60000)), queue=1)
        except BlockingIOError:
            break
        wait_until(lambda: bridge.counter("uplink_rx_frames"), 5, "frames are taken")
    bridge.inbound(frame(B, OUT, b"other rx queue"), queue=2)
    assert bridge.receive(2)[2] == frame(B, OUT, b"other rx queue")


def test_a_frame_that_the_nic_cannot_take_is_answered(bridge: UplinkBench) -> None:
    bridge.peers[1].send(ipv4(OUT, A, "192.0.2.1", IP_A, bytes(3000)))
    answer = bridge.receive(1)[2]
    assert answer[:14] == mac_bytes(A) + mac_bytes(OUT) + b"\x08\x00"
    assert answer[14 + 20 : 14 + 22] == b"\x03\x04" and answer[14 + 26 : 14 + 28] == b"\x05\xdc"
    assert bridge.outbound_peek() is None and bridge.drops()["too_big"] == 1


def test_without_uplink_the_frame_is_counted(bridge: UplinkBench) -> None:
    bridge.loop.clear_uplink()
    bridge.peers[1].send(frame(OUT, A))
    bridge.wait_for_drop("no_destination")


def test_a_closed_nic_is_counted(bridge: UplinkBench) -> None:
    bridge.wire.close()
    bridge.peers[1].send(frame(OUT, A))
    bridge.wait_for_drop("uplink_down")


def test_shared_outbound_frames_carry_the_nics_mac(shared: UplinkBench) -> None:
    shared.peers[1].send(ipv4(OUT, A, IP_OUT, IP_A))
    assert shared.outbound() == ipv4(OUT, NIC, IP_OUT, IP_A)
    shared.peers[1].send(arp(1, BROADCAST, A, (A, IP_A), ("00:00:00:00:00:00", IP_OUT)))
    assert shared.outbound() == arp(1, BROADCAST, NIC, (NIC, IP_A), ("00:00:00:00:00:00", IP_OUT))


def test_shared_inbound_frames_are_told_apart_by_address(shared: UplinkBench) -> None:
    for _ in range(2):
        shared.inbound(ipv4(NIC, OUT, IP_A, IP_OUT))
        assert shared.receive(1)[2] == ipv4(A, OUT, IP_A, IP_OUT)
        shared.inbound(ipv4(NIC, OUT, IP_B, IP_OUT))
        assert shared.receive(2)[2] == ipv4(B, OUT, IP_B, IP_OUT)
    shared.inbound(ipv4(NIC, OUT, "10.0.0.77", IP_OUT))
    shared.inbound(arp(1, BROADCAST, OUT, (OUT, IP_OUT), ("00:00:00:00:00:00", IP_B)))
    assert shared.receive(2)[2] == arp(1, BROADCAST, OUT, (OUT, IP_OUT), ("00:00:00:00:00:00", IP_B))
    shared.inbound(arp(2, NIC, OUT, (OUT, IP_OUT), (NIC, IP_A)))
    assert shared.receive(1)[2] == arp(2, A, OUT, (OUT, IP_OUT), (A, IP_A))
    assert shared.peers[1].receive() is None and shared.peers[2].receive() is None


def test_a_router_that_moves_is_heard_by_all(shared: UplinkBench) -> None:
    announcement = arp(1, BROADCAST, OUT, (OUT, IP_OUT), ("00:00:00:00:00:00", IP_OUT))
    shared.inbound(announcement)
    assert shared.receive(1)[2] == shared.receive(2)[2] == announcement


@pytest.mark.parametrize(
    "data",
    [
        ipv4(OUT, A, IP_OUT, IP_B),
        ipv4(B, A, IP_B, "10.0.0.77"),
        ipv4(BROADCAST, A, "255.255.255.255", IP_B),
        arp(2, OUT, A, (A, IP_B), (OUT, IP_OUT)),
        arp(2, OUT, A, (B, IP_A), (OUT, IP_OUT)),
        arp(1, BROADCAST, A, (A, IP_OUT), (OUT, IP_B)),
    ],
)
def test_shared_addresses_of_others_are_refused(shared: UplinkBench, data: bytes) -> None:
    shared.peers[1].send(data)
    shared.wait_for_drop("bad_address")
    assert shared.outbound_peek() is None and shared.peers[2].receive() is None


def partial(start: int, offset: int) -> bytes:
    """A vnet header that leaves a checksum to be written."""
    return struct.pack("=BBHHHH", 1, 0, 0, 0, start, offset)


def test_a_checksum_is_written_behind_the_addresses_only(shared: UplinkBench) -> None:
    honest = ipv4(OUT, A, IP_OUT, IP_A, bytes(40))
    shared.peers[1].send(honest, vnet=partial(34, 6))
    assert shared.outbound() == ipv4(OUT, NIC, IP_OUT, IP_A, bytes(40))
    for start, offset in ((20, 6), (20, 8), (33, 6), (14, 12)):
        shared.peers[1].send(honest, vnet=partial(start, offset))
    shared.peers[1].send(arp(2, OUT, A, (A, IP_A), (OUT, IP_OUT)), vnet=partial(34, 6))
    wait_until(lambda: shared.drops().get("bad_address") == 5, 5, "five frames refused")
    assert shared.outbound_peek() is None


@pytest.mark.parametrize("kind", [b"\x88\xb5", b"\x88\x8e", b"\x00\x26", b"\x81\x00", b"\x92\x00"])
def test_what_cannot_be_judged_is_refused(shared: UplinkBench, kind: bytes) -> None:
    shared.peers[1].send(mac_bytes(OUT) + mac_bytes(A) + kind + bytes(50))
    shared.wait_for_drop("bad_address")
    assert shared.outbound_peek() is None


@pytest.mark.parametrize("kind", [b"\x81\x00", b"\x88\xa8", b"\x93\x00"])
def test_no_partition_reaches_other_vlans(bridge: UplinkBench, kind: bytes) -> None:
    bridge.peers[1].send(mac_bytes(OUT) + mac_bytes(A) + kind + b"\0\5\x08\0" + bytes(50))
    bridge.wait_for_drop("bad_frame")
    assert bridge.outbound_peek() is None


def test_no_checksum_is_written_over_a_mac(bridge: UplinkBench) -> None:
    bridge.peers[1].send(frame(OUT, A, bytes(50)), vnet=partial(6, 0))
    bridge.wait_for_drop("bad_frame")
    assert bridge.outbound_peek() is None


def test_who_asks_for_a_taken_address_is_answered(shared: UplinkBench) -> None:
    """Duplicate address detection from outside: a solicitation from :: for a partition's address."""
    target = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:1")
    body = b"\x87\0\0\0" + bytes(4) + target
    header = struct.pack(">IHBB", 6 << 28, len(body), 58, 255) + bytes(16) + group
    solicitation = mac_bytes("33:33:ff:00:00:01") + mac_bytes(OUT) + b"\x86\xdd" + header + body
    shared.inbound(solicitation)
    assert shared.receive(1)[2] == solicitation


def test_from_outside_nobody_is_one_of_ours(shared: UplinkBench) -> None:
    shared.inbound(ipv4(NIC, OUT, IP_B, IP_A))
    shared.wait_for_drop("bad_address")
    assert shared.peers[2].receive() is None


def test_a_rate_limit_holds_outward(jumbo: UplinkBench) -> None:
    jumbo.loop.set_rates(1, 1_000_000, 1_000_000)
    for _ in range(4):
        jumbo.peers[1].send(frame(OUT, A, bytes(1400)) * 10)
    first = jumbo.outbound()
    holds_for(lambda: jumbo.counter("uplink_tx_frames") < 4, 0.02, "four frames take 42 ms")
    assert [jumbo.outbound() for _ in range(3)] == [first] * 3
    jumbo.loop.set_rates(1, 0, 0)


def test_a_rate_limit_holds_inward(jumbo: UplinkBench) -> None:
    jumbo.loop.set_rates(1, 1_000_000, 1_000_000)
    data = frame(A, OUT, bytes(14000))
    for _ in range(5):
        jumbo.inbound(data)
    wait_until(lambda: jumbo.counter("uplink_rx_frames") == 5, 5, "all are in the ring")
    jumbo.peers[2].send(frame(A, B, b"not counted, but behind"))
    assert jumbo.receive(1)[2] == data
    holds_for(lambda: counters.port(jumbo.counters)["uplink_tx_frames"] == 0, 0.01, "nothing goes out")
    assert [jumbo.receive(1)[2] for _ in range(4)] == [data] * 4
    assert jumbo.receive(1)[2] == frame(A, B, b"not counted, but behind")


def test_each_way_has_a_limit_of_its_own(jumbo: UplinkBench) -> None:
    """And the other way none, whichever it is; nothing that waits is kept when a limit ends."""
    out, data = frame(OUT, A, bytes(1400)) * 10, frame(A, OUT, bytes(14000))
    jumbo.loop.set_rates(1, 0, 12_500)
    for _ in range(4):
        jumbo.peers[1].send(out)
        jumbo.inbound(data)
    assert [jumbo.outbound() for _ in range(4)] == [out] * 4
    assert jumbo.receive(1)[2] == data
    holds_for(lambda: jumbo.peers[1].receive() is None, 0.02, "the next one waits for more than a second")
    jumbo.loop.set_rates(1, 12_500, 0)
    assert [jumbo.receive(1)[2] for _ in range(3)] == [data] * 3
    for _ in range(3):
        jumbo.peers[1].send(out)
        jumbo.inbound(data)
    assert [jumbo.receive(1)[2] for _ in range(3)] == [data] * 3
    assert jumbo.outbound() == out
    holds_for(lambda: jumbo.outbound_peek() is None, 0.02, "the next one waits for more than a second")
    jumbo.loop.set_rates(1, 0, 0)
    assert [jumbo.outbound() for _ in range(2)] == [out] * 2


def test_what_is_not_for_the_uplink_is_not_lost_with_it(jumbo: UplinkBench) -> None:
    """Beyond its limit, a partition still resolves neighbours outside, and reaches the machine."""
    jumbo.loop.set_rates(1, 12_500, 12_500)
    for _ in range(4):
        jumbo.peers[1].send(frame(OUT, A, bytes(30_000)))
    jumbo.peers[1].send(frame(HOST, A, b"to the machine"))
    jumbo.peers[1].send(frame(BROADCAST, A, b"who has"))
    for _ in range(3):
        jumbo.peers[1].send(frame(OUT, A, bytes(60_000)))
    jumbo.wait_for_drop("over_rate")
    assert jumbo.tap_receive() == frame(HOST, A, b"to the machine")
    assert frame(BROADCAST, A, b"who has") in (jumbo.outbound(), jumbo.outbound())


def test_what_is_beyond_the_limit_is_dropped_and_counted(jumbo: UplinkBench) -> None:
    jumbo.loop.set_rates(1, 12_500, 12_500)
    for _ in range(5):
        jumbo.peers[1].send(frame(OUT, A, bytes(60_000)))
    jumbo.wait_for_drop("over_rate")
    jumbo.peers[1].send(frame(OUT, A, b"x"))


def test_vnet_headers_are_passed_on(bridge: UplinkBench) -> None:
    header = b"\x01\x00" + bytes(8)
    bridge.inbound(frame(A, OUT), vnet=header)
    got = wait_until(bridge.peers[1].consumer.read, 5, "the record")
    assert got is not None and got[2][: len(VNET)] == header


def fill_with_segments(bench: UplinkBench, count: int) -> int:
    """Frames from port 1 that the kernel would cut into 117 packets each; how long one is."""
    data = b"\x01\x01" + struct.pack("<4H", 54, 8, 34, 16) + ipv4(OUT, A, IP_OUT, IP_A, bytes(900))
    peer = bench.peers[1]
    assert all(peer.producer.write(data, ring.FRAME, 1, 0) for _ in range(count))
    peer.producer.publish()
    return len(data) - len(VNET)


def test_a_turn_ends_with_so_many_segments() -> None:
    """Sixteen frames of the largest kind would be a thousand packets; here as many frames are twice that."""
    bench = UplinkBench({1: A, 2: B})
    fill_with_segments(bench, 20)
    bench.peers[2].send(frame(OUT, B, b"other"))
    with bench:
        out = [bench.outbound() for _ in range(21)]
    assert out.index(frame(OUT, B, b"other")) == 9


def test_a_link_that_ends_leaves_more_segments_unsent(bridge: UplinkBench) -> None:
    """What its ring holds goes at once, while the control thread waits."""
    wait_until(bridge.quiet, 5, "the loop sleeps, and looks again when it is told to")
    length = fill_with_segments(bridge, 100)
    bridge.loop.detach(1)
    assert [len(bridge.outbound()) for _ in range(71)] == [length] * 71
    assert bridge.outbound_peek() is None
    assert bridge.drops() == {"ring_full": 29}


@pytest.mark.parametrize(
    ("length", "size", "passes"), [(900, 8, True), (900, 1, False), (5000, 35, False), (5000, 36, True)]
)
def test_many_tiny_segments_are_refused(jumbo: UplinkBench, length: int, size: int, passes: bool) -> None:
    """No TCP has an MSS below 36, and no program sends more than 128 datagrams at once."""
    header = b"\x01\x01" + struct.pack("<4H", 54, size, 34, 16)
    jumbo.peers[1].send(ipv4(OUT, A, IP_OUT, IP_A, bytes(length)), vnet=header)
    if passes:
        assert len(jumbo.outbound()) > length
    else:
        jumbo.wait_for_drop("bad_frame")


@pytest.mark.parametrize("size", [1, 8, 58])
def test_a_frame_in_a_thousand_segments_is_refused(jumbo: UplinkBench, size: int) -> None:
    """The kernel would cut it in the loop's thread, whatever the header says of checksums."""
    for first in (b"\x01\x01", b"\x00\x01", b"\x01\x05"):
        header = first + struct.pack("<4H", 54, size, 34, 16)
        jumbo.peers[1].send(ipv4(OUT, A, IP_OUT, IP_A, bytes(60_000)), vnet=header)
    wait_until(lambda: jumbo.drops().get("bad_frame") == 3, 5, "all are dropped")
    header = b"\x01\x01" + struct.pack("<4H", 54, 536, 34, 16)
    jumbo.peers[1].send(ipv4(OUT, A, IP_OUT, IP_A, bytes(60_000)), vnet=header)
    assert len(jumbo.outbound()) > 60_000
