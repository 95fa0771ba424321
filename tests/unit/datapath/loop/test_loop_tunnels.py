"""Super-frames in tunnels that come in by the uplink: the hosting daemon's loop passes on their segments."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.framework.datapath.peer import frame, mac_bytes
from tests.framework.datapath.uplinks import NIC, UplinkBench
from tests.framework.traffic.superframes import OUTER, Super
from tests.framework.waiting import wait_until
from vnicd.native import counters
from vnicd.native.testing import packets, ring

A, B, OUT, GROUP = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:99", "01:00:5e:00:00:fb"
PAYLOAD = bytes(index * 31 % 251 for index in range(20_000))


@pytest.fixture
def bridge() -> Iterator[UplinkBench]:
    with UplinkBench({1: A, 2: B}) as bench:
        yield bench


@pytest.fixture
def shared() -> Iterator[UplinkBench]:
    with UplinkBench({1: A, 2: B}, shared=True) as bench:
        bench.addresses(1, f"{OUTER[4][1]}/24", f"{OUTER[6][1]}/64")
        yield bench


def to(
    mac: str, outer: int = 4, gso_size: int = 1400, tunnel: str = "vxlan", payload: bytes = PAYLOAD
) -> Super:
    """A super-frame from outside."""
    macs = mac_bytes(mac) + mac_bytes(OUT)
    return Super(payload, gso_size, outer, tunnel, udp_checksum=outer == 6, macs=macs)


def taken(bench: UplinkBench, port: int) -> tuple[bytes, bytes]:
    """The next record for a port: vnet header and frame."""
    got = wait_until(bench.peers[port].consumer.read, 5, f"a record for port {port}")
    bench.peers[port].consumer.publish()
    return got[2][:10], got[2][10:]


def arrive(bench: UplinkBench, whole: Super, expected: Super, *ports: int) -> None:
    bench.inbound(whole.frame(), vnet=whole.vnet())
    made = packets.segments(expected.vnet(), expected.frame(), True)
    for port in ports:
        assert [taken(bench, port) for _ in made] == made
        assert bench.peers[port].receive() is None


@pytest.mark.parametrize("outer", [4, 6])
def test_it_arrives_as_its_segments(bridge: UplinkBench, outer: int) -> None:
    """Also behind a long frame, when the next one is looked at in its socket and read into the ring."""
    arrive(bridge, to(A, outer), to(A, outer), 1)
    bridge.inbound(frame(A, OUT, bytes(30_000)))
    assert taken(bridge, 1)[1] == frame(A, OUT, bytes(30_000))
    arrive(bridge, to(A, outer), to(A, outer), 1)


def test_each_segment_is_counted(bridge: UplinkBench) -> None:
    whole = to(A)
    arrive(bridge, whole, whole, 1)
    made = whole.segments()
    wait_until(
        lambda: counters.peer(bridge.counters, 1)[0]["down_frames"] == len(made), 5, "they are counted"
    )
    assert counters.peer(bridge.counters, 1)[0]["down_bytes"] == sum(map(len, made))
    assert bridge.counter("uplink_rx_frames") == len(made)
    assert bridge.drops() == {}


@pytest.mark.parametrize("outer", [4, 6])
def test_with_one_mac_for_all(shared: UplinkBench, outer: int) -> None:
    arrive(shared, to(NIC, outer), to(A, outer), 1)
    assert shared.peers[2].receive() is None


def test_to_a_group_each_gets_all(bridge: UplinkBench) -> None:
    arrive(bridge, to(GROUP), to(GROUP), 1, 2)


def test_for_nobody(bridge: UplinkBench) -> None:
    whole = to(OUT)
    bridge.inbound(whole.frame(), vnet=whole.vnet())
    bridge.inbound(frame(A, OUT, b"last"))
    assert taken(bridge, 1)[1] == frame(A, OUT, b"last")
    assert bridge.drops() == {}


def test_without_a_tunnel_it_stays_whole(bridge: UplinkBench) -> None:
    whole = to(A, tunnel="")
    for _ in range(2):
        bridge.inbound(whole.frame(), vnet=whole.vnet())
        assert taken(bridge, 1) == (whole.vnet(), whole.frame())


def test_what_cannot_be_cut_is_counted(bridge: UplinkBench) -> None:
    """A thousand segments among it."""
    for whole in (to(A, gso_size=8), to(A)):
        broken = bytearray(whole.frame())
        broken[23] = 50 if whole.gso_size > 8 else 17
        bridge.inbound(bytes(broken), vnet=whole.vnet())
    bridge.inbound(frame(A, OUT, b"last"))
    assert taken(bridge, 1)[1] == frame(A, OUT, b"last")
    assert counters.peer(bridge.counters, 1)[1]["bad_frame"] == 2


def test_a_rate_limit_holds_for_segments(bridge: UplinkBench) -> None:
    """The queue holds segments, up to its length in bytes."""
    whole = to(A)
    made = packets.segments(whole.vnet(), whole.frame(), True)
    bridge.loop.set_rates(1, 1_000_000, 1_000_000)
    ends = []
    # On a slow machine the limit may let just whole ones through, but not each time.
    for sent in range(9, 54, 9):
        for _ in range(9):
            bridge.inbound(whole.frame(), vnet=whole.vnet())
        wait_until(
            lambda sent=sent: bridge.counter("uplink_rx_frames") == sent * len(made), 5, "all have come in"
        )
        counted, dropped = counters.peer(bridge.counters, 1)
        assert set(dropped) == {"over_rate"}
        assert counted["down_frames"] + dropped["over_rate"] == sent * len(made)
        ends.append(counted["down_frames"] % len(made))
        if ends[-1]:
            break
    assert any(ends), "the limit comes in the middle of a super-frame"
    assert [taken(bridge, 1) for _ in range(counted["down_frames"])][: len(made)] == made


def test_room_for_all_segments_is_waited_for(bridge: UplinkBench) -> None:
    """With their headers they take more than the super-frame did."""
    whole = to(A, gso_size=300, payload=PAYLOAD * 3)
    made = packets.segments(whole.vnet(), whole.frame(), True)
    took = sum((16 + 10 + len(each) + 63) & ~63 for _, each in made)
    number, room = divmod(ring.RING_SIZE, took)
    assert ring.RECORD_MAX <= room < took, "there is room for a record, not for all of it"
    for _ in range(number + 1):
        bridge.inbound(whole.frame(), vnet=whole.vnet())
    wait_until(lambda: bridge.counter("uplink_rx_frames") == (number + 1) * len(made), 5, "all are read")
    assert bridge.counter("holds") >= 1


BIG = PAYLOAD * 10
"""More than a record holds."""


@pytest.mark.parametrize("outer", [4, 6])
def test_big_tcp_arrives_in_super_frames(bridge: UplinkBench, outer: int) -> None:
    whole = to(A, outer, 1448, "", BIG)
    for _ in range(3):
        bridge.inbound(whole.frame(), vnet=whole.vnet())
        got = [taken(bridge, 1) for _ in whole.super_segments()]
        assert [data for _, data in got] == whole.super_segments()
        assert {vnet for vnet, _ in got} == {whole.vnet_of_pieces()}
    assert bridge.drops() == {}


@pytest.mark.parametrize("outer", [4, 6])
def test_big_tcp_with_one_mac_for_all(shared: UplinkBench, outer: int) -> None:
    whole = to(NIC, outer, 1448, "", BIG)
    shared.inbound(whole.frame(), vnet=whole.vnet())
    pieces = to(A, outer, 1448, "", BIG).super_segments()
    assert [taken(shared, 1)[1] for _ in pieces] == pieces


def test_big_tcp_that_cannot_be_cut_is_counted(bridge: UplinkBench) -> None:
    whole = to(A, 4, 1448, "", BIG)
    bridge.inbound(whole.frame(), vnet=bytes(10))
    bridge.inbound(frame(A, OUT, b"last"))
    assert taken(bridge, 1)[1] == frame(A, OUT, b"last")
    assert counters.peer(bridge.counters, 1)[1] == {"bad_frame": 1}
