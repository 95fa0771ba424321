"""The loop of a partition with sockets in place of a TAP: forwarding, checks, relay, marks, drops."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest

from tests.framework.datapath.loops import LoopBench
from tests.framework.datapath.peer import VNET, Peer, frame
from tests.framework.waiting import holds_for, wait_until
from vnicd.native import counters, directory, memory
from vnicd.native.loop import queue_ms
from vnicd.native.testing import ring

ME, A, B, NOBODY = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03", "02:00:00:00:00:99"
BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def bench() -> Iterator[LoopBench]:
    """Port 1 with a relay and two live peers, ports 2 and 3, that have no link yet."""
    with LoopBench(1, {1: ME, 2: A, 3: B}) as bench:
        bench.relay()
        yield bench


def test_a_frame_goes_by_relay_and_a_link_is_wanted(bench: LoopBench) -> None:
    bench.tap_send(frame(A, ME))
    assert bench.receive(0) == (ring.FRAME, 1, frame(A, ME))
    assert bench.wanted() == [2]


def test_a_frame_goes_over_the_direct_link_once_it_is_open(bench: LoopBench) -> None:
    peer = Peer.attach(bench.loop, 1, 2)
    bench.tap_send(frame(A, ME, b"by relay"))
    assert bench.receive(0) == (ring.FRAME, 1, frame(A, ME, b"by relay"))
    assert bench.loop.open(2)
    kind, source, mark = bench.receive(0)
    assert (kind, source, mark[0]) == (ring.MARK, 1, 2)
    bench.tap_send(frame(A, ME, b"direct"))
    assert wait_until(peer.receive, 5, "the frame on the direct link") == (
        ring.FRAME,
        1,
        frame(A, ME, b"direct"),
    )


def test_what_was_sent_before_the_end_goes_out() -> None:
    """The resets of a removed partition's connections, say, after which its daemon is told to stop at once."""
    for _ in range(20):
        with LoopBench(1, {1: ME, 2: A}) as bench:
            relay = bench.relay()
            for number in range(8):
                bench.tap_send(frame(A, ME, bytes([number])))
            bench.loop.stop()
            bench.thread.join()
            sent = [relay.receive() for _ in range(8)]
        assert sent == [(ring.FRAME, 1, frame(A, ME, bytes([number]))) for number in range(8)]


def test_a_loop_that_is_stopped_before_it_begins_sends_what_is_there() -> None:
    bench = LoopBench(1, {1: ME, 2: A})
    relay = bench.relay()
    bench.tap_send(frame(A, ME, b"last"))
    bench.loop.stop()
    with bench:
        bench.thread.join()
    assert relay.receive() == (ring.FRAME, 1, frame(A, ME, b"last"))


def test_what_is_on_the_direct_link_waits_for_the_mark(bench: LoopBench) -> None:
    peer = Peer.attach(bench.loop, 1, 2, link_id=9)
    peer.send(frame(ME, A, b"second"))
    bench.peers[0].send(frame(ME, A, b"first"), source=2)
    assert bench.tap_receive() == frame(ME, A, b"first")
    holds_for(lambda: bench.tap_peek() is None, 0.05, "the held frame stays held")
    bench.peers[0].send(bytes([1]) + bytes(23), kind=ring.MARK, source=2, link_id=9)
    assert bench.tap_receive() == frame(ME, A, b"second")


def test_a_lost_mark_does_not_hold_a_link_for_ever(bench: LoopBench) -> None:
    peer = Peer.attach(bench.loop, 1, 2)
    peer.send(frame(ME, A))
    assert bench.tap_receive() == frame(ME, A)


def test_a_mark_may_wait_for_its_senders_rate_limit(bench: LoopBench) -> None:
    """The link is held for as long as what went by relay may take, and no longer."""
    bench.directory.put(2, directory.LIVE, A, 1, 1500, [], queue_ms=1000)
    peer = Peer.attach(bench.loop, 1, 2, link_id=9)
    peer.send(frame(ME, A, b"second"))
    holds_for(lambda: bench.tap_peek() is None, 0.5, "the link is held although the mark is late")
    assert bench.tap_receive() == frame(ME, A, b"second")


@pytest.mark.parametrize(
    ("rate", "ms"), [(0, 0), (10**9, 0), (2_621_440, 50), (125_000, 1048), (1000, 131_072)]
)
def test_how_long_a_rate_limit_lets_wait(rate: int, ms: int) -> None:
    """Two super-frames or 50 ms of it, whichever is more, but never half of the ring."""
    assert queue_ms(rate) == ms


def test_a_link_on_small_pages_that_moves_much_is_told_of_once(bench: LoopBench) -> None:
    peer = bench.direct(2)
    for _ in range(4 * ring.RING_SIZE // 32768):
        bench.tap_send(frame(A, ME, bytes(32000)))
        wait_until(peer.receive, 5, "the frame")
    assert bench.loop.take_fast() == [2]
    for _ in range(4 * ring.RING_SIZE // 32768):
        bench.tap_send(frame(A, ME, bytes(32000)))
        wait_until(peer.receive, 5, "the frame")
    assert bench.loop.take_fast() == []


def test_a_link_takes_memory_as_it_is_used(bench: LoopBench) -> None:
    peer = bench.direct(2)
    taken = os.fstat(peer.theirs.fd).st_blocks * 512
    assert taken <= 2 * memory.SMALL_PAGE
    bench.tap_send(frame(A, ME, bytes(20000)))
    wait_until(peer.receive, 5, "the frame")
    assert taken < os.fstat(peer.theirs.fd).st_blocks * 512 <= 8 * memory.SMALL_PAGE


def test_a_relayed_frame_does_not_overtake_the_direct_ones(bench: LoopBench) -> None:
    """A peer that stopped using its link relays behind what it has written there."""
    peer = Peer.attach(bench.loop, 1, 2, link_id=9)
    bench.peers[0].send(bytes([1]) + bytes(23), kind=ring.MARK, source=2, link_id=9)
    for number in range(50):
        payload = VNET + frame(ME, A, b"direct %d" % number)
        assert peer.producer.write(payload, ring.FRAME, 2, 0)
        peer.producer.publish()  # no doorbell: as if the loop had not come to look
        bench.peers[0].send(frame(ME, A, b"relayed %d" % number), source=2)
        assert bench.tap_receive() == frame(ME, A, b"direct %d" % number)
        assert bench.tap_receive() == frame(ME, A, b"relayed %d" % number)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (frame(A, B), "bad_source"),
        (frame("01:80:c2:00:00:0e", ME), "reserved_multicast"),
        (frame(NOBODY, ME), "no_destination"),
        (frame(ME, ME), "own_destination"),
    ],
)
def test_what_may_not_be_sent_is_dropped_and_counted(bench: LoopBench, sent: bytes, reason: str) -> None:
    bench.tap_send(sent)
    bench.wait_for_drop(reason)
    assert bench.peers[0].receive() is None


def test_broadcast_goes_to_the_relay_once(bench: LoopBench) -> None:
    peer = Peer.attach(bench.loop, 1, 2)
    bench.loop.open(2)
    bench.receive(0)  # the mark
    bench.tap_send(frame(BROADCAST, ME))
    assert bench.receive(0) == (ring.FRAME, 1, frame(BROADCAST, ME))
    assert peer.receive() is None


def test_without_a_relay_broadcast_reaches_the_direct_peers() -> None:
    with LoopBench(1, {1: ME, 2: A, 3: B}) as bench:
        peers = [Peer.attach(bench.loop, 1, port) for port in (2, 3)]
        assert bench.loop.open(2) and bench.loop.open(3)
        bench.tap_send(frame(BROADCAST, ME))
        for peer in peers:
            assert wait_until(peer.receive, 5, "the broadcast") == (ring.FRAME, 1, frame(BROADCAST, ME))


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(frame(ME, B), "bad_source"), (frame(B, A), "not_mine"), (frame(NOBODY, A), "not_mine")],
)
def test_a_peer_may_send_only_its_own_frames_to_us(bench: LoopBench, sent: bytes, reason: str) -> None:
    peer = bench.direct(2)
    peer.send(sent)
    bench.wait_for_drop(reason)
    assert bench.tap_peek() is None


def test_a_port_that_is_down(bench: LoopBench) -> None:
    bench.loop.detach(0)
    bench.directory.put(3, directory.DOWN, B, 1, 1500, [])
    bench.tap_send(frame(B, ME))
    bench.wait_for_drop("peer_down")
    bench.tap_send(frame(A, ME))
    bench.wait_for_drop("no_link")


def test_a_stalled_receiver_is_given_up_and_the_others_go_on(bench: LoopBench) -> None:
    bench.direct(2)  # never reads
    reader = bench.direct(3)
    bench.fill(2, A)
    bench.wait_for_drop("ring_full")
    bench.tap_send(frame(B, ME, b"still here"))
    assert wait_until(reader.receive, 5, "the frame for the other peer") == (
        ring.FRAME,
        1,
        frame(B, ME, b"still here"),
    )


def test_a_stalled_receiver_that_reads_again_is_served_again(bench: LoopBench) -> None:
    slow = bench.direct(2)
    bench.fill(2, A)
    bench.wait_for_drop("ring_full")
    again = (ring.FRAME, 1, frame(A, ME, b"again"))
    bench.tap_send(again[2])
    wait_until(lambda: slow.receive() == again, 5, "service again")


def test_a_large_frame_arrives_whole(bench: LoopBench) -> None:
    peer = bench.direct(2)
    large = frame(A, ME, bytes(range(256)) * 250)
    bench.tap_send(large)
    assert wait_until(peer.receive, 5, "the large frame") == (ring.FRAME, 1, large)
    peer.send(frame(ME, A, bytes(range(256)) * 250))
    assert bench.tap_receive() == frame(ME, A, bytes(range(256)) * 250)


def test_a_dead_peer_is_reported_and_its_last_frames_arrive(bench: LoopBench) -> None:
    peer = bench.direct(2)
    for number in range(10):
        assert peer.producer.write(VNET + frame(ME, A, b"%d" % number), ring.FRAME, 2, 0)
    peer.producer.publish()
    peer.close()
    assert wait_until(bench.gone, 5, "the report") == {2: "dead"}
    bench.loop.detach(2)
    assert [bench.tap_receive() for _ in range(10)] == [frame(ME, A, b"%d" % number) for number in range(10)]
    assert bench.loop.peers() == [0]


def test_what_a_peer_did_not_read_is_counted_once_it_is_gone(bench: LoopBench) -> None:
    peer = bench.direct(2)
    for number in range(5):
        bench.tap_send(frame(A, ME, b"%d" % number))
    for _ in range(2):
        bench.receive(2)
    wait_until(lambda: bench.counter("tap_rx_frames") == 5, 5, "all are in the ring")
    peer.close()
    bench.loop.detach(2)
    assert bench.drops() == {"unread": 3}


def test_what_a_peer_may_still_read_is_not_counted(bench: LoopBench) -> None:
    """Both ends of a link that is given back detach it, each when it likes, and read what the other has written."""
    bench.direct(2)
    bench.tap_send(frame(A, ME))
    wait_until(lambda: bench.counter("tap_rx_frames") == 1, 5, "it is in the ring")
    bench.loop.detach(2)
    assert bench.drops() == {}
    assert bench.receive(2) == (ring.FRAME, 1, frame(A, ME))


def test_a_mark_that_is_not_read_is_no_lost_frame(bench: LoopBench) -> None:
    Peer.attach(bench.loop, 1, 2)
    bench.tap_send(frame(A, ME))
    bench.receive(0)
    assert bench.loop.open(2)
    bench.tap_send(frame(BROADCAST, ME))
    wait_until(lambda: bench.counter("tap_rx_frames") == 2, 5, "it is in the ring behind the mark")
    bench.peers[0].close()
    bench.loop.detach(0)
    assert bench.drops() == {"unread": 1}


def test_what_the_host_cannot_pass_on_any_more_is_counted() -> None:
    """A link ends while its records wait for the room of another."""
    with LoopBench(0, {1: A, 2: B}, relays=True) as bench:
        a, b = bench.direct(1), bench.direct(2)
        frames = 0
        while not bench.counter("holds"):
            while a.producer.write(VNET + frame(B, A, bytes(60_000)), ring.FRAME, 1, 0):
                frames += 1
            a.producer.publish()
            a.ring()
        bench.loop.detach(1)
        read = 0
        while b.receive():
            read += 1
        assert read + bench.drops()["ring_full"] == frames


def test_an_end_that_was_noticed_is_not_the_next_links(bench: LoopBench) -> None:
    bench.direct(2).close()
    assert select.select([bench.loop.event_fd], [], [], 5)[0], "the loop has noticed"
    bench.loop.detach(2)
    bench.direct(2)
    assert bench.loop.take_events()[1] == {}


def test_a_frame_that_the_tap_cannot_hand_over(bench: LoopBench) -> None:
    """Its read fails with EINVAL, as one of a Unix socket does that listens: the TAP is not lost by that."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(f"\0vnicd-test-{os.getpid()}")
        listener.listen()
        listener.setblocking(False)
        client.connect(listener.getsockname())
        bench.loop.set_tap(listener.fileno())
        bench.wait_for_drop("bad_frame")
        bench.loop.set_tap(bench.inner.fileno())
    assert not bench.loop.take_events()[2]
    peer = bench.direct(2)
    bench.tap_send(frame(A, ME, b"goes on"))
    assert wait_until(peer.receive, 5, "the next frame")[2].endswith(b"goes on")


def test_the_host_relays_between_links() -> None:
    with LoopBench(0, {1: A, 2: B}, relays=True) as bench:
        a, b = bench.direct(1), bench.direct(2)
        a.send(frame(B, A, b"to b"))
        assert wait_until(b.receive, 5, "the relayed frame") == (ring.FRAME, 1, frame(B, A, b"to b"))
        a.send(frame(BROADCAST, A))
        assert wait_until(b.receive, 5, "the broadcast") == (ring.FRAME, 1, frame(BROADCAST, A))
        a.send(frame(B, B))
        bench.wait_for_drop("bad_source")
        a.send(frame(NOBODY, A))
        bench.wait_for_drop("no_destination")
        assert a.receive() is None


def test_a_relayed_mark_is_no_frame() -> None:
    with LoopBench(0, {1: A, 2: B}, relays=True) as bench:
        a, b = bench.direct(1), bench.direct(2)
        a.send(bytes([2]) + bytes(23), kind=ring.MARK, link_id=9)
        a.send(frame(B, A))
        assert [wait_until(b.receive, 5, "both")[0] for _ in range(2)] == [ring.MARK, ring.FRAME]
        sent = counters.peer(bench.counters, 2)[0]
        assert (sent["tx_frames"], sent["tx_bytes"]) == (1, len(frame(B, A)))


def test_an_idle_loop_sleeps(bench: LoopBench) -> None:
    bench.direct(2)
    wait_until(bench.quiet, 5, "the loop to go to sleep")
    rounds = bench.counter("rounds")
    holds_for(lambda: bench.counter("rounds") == rounds, 0.1, "the loop sleeps")
