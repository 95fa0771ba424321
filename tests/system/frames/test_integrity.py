"""What arrives is what was sent: hashes of TCP streams, numbers of UDP datagrams."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import Flow
from tests.framework.traffic.streams import MEGABYTE, connect, exchange
from tests.system.conftest import Pair


def test_stream_of_hundreds_of_megabytes(pair: Pair) -> None:
    blue, green = pair
    exchange(*connect(blue, green, green.ip), 300 * MEGABYTE)


def test_streams_both_ways_at_once(pair: Pair) -> None:
    blue, green = pair
    exchange(*connect(blue, green, green.ip6), 100 * MEGABYTE, back=100 * MEGABYTE)


def test_many_streams_at_once(pair: Pair) -> None:
    blue, green = pair
    ends = [connect(*way) for way in ((blue, green, green.ip), (green, blue, blue.ip)) for _ in range(4)]
    with ThreadPoolExecutor(len(ends)) as pool:
        list(pool.map(lambda both: exchange(both[0], both[1], 8 * MEGABYTE, back=8 * MEGABYTE), ends))


def fresh_pair(shared: Fabric, label: str, subnet: int, known: bool = True) -> tuple[Partition, Partition]:
    """Two partitions that have never sent each other a frame; `known` spares them ARP."""
    one = shared.add(f"{label}a", f"10.80.{subnet}.1/24")
    other = shared.add(f"{label}b", f"10.80.{subnet}.2/24")
    if known:
        one.know(other)
        other.know(one)
    return one, other


def test_order_from_the_very_first_frame(shared: Fabric) -> None:
    """The switch from relay to direct happens under this flow and must not show."""
    one, other = fresh_pair(shared, "first", 1)
    with Flow(one, other) as flow:
        flow.send(20_000, 1)
        flow.check()
    shared.wait_path(one, other, "direct")


def test_order_from_the_very_first_frame_both_ways(shared: Fabric) -> None:
    """Both sides ask for the link at the same time."""
    one, other = fresh_pair(shared, "both", 2)
    with Flow(one, other) as there, Flow(other, one) as back, ThreadPoolExecutor(2) as pool:
        for running in [pool.submit(flow.send, 5000, 1) for flow in (there, back)]:
            running.result()
        there.check()
        back.check()
    shared.wait_path(one, other, "direct")


def test_order_with_address_resolution(shared: Fabric) -> None:
    """The sender's own kernel may let a datagram pass those that wait for the address, at the moment when it comes."""
    for attempt in range(3):
        one, other = fresh_pair(shared, f"arp{attempt}", 30 + attempt, known=False)
        with Flow(one, other) as flow:
            flow.send(5000, 1)
            try:
                flow.check()
                return
            except AssertionError:
                if attempt == 2:
                    raise


def test_order_of_large_datagrams_from_the_first(shared: Fabric) -> None:
    """Fragments and large records across the switch."""
    one, other = fresh_pair(shared, "large", 4)
    with Flow(one, other, size=20_000) as flow:
        # The ring holds 0.1 s of that: on a busy machine its reader may get no CPU for as long.
        flow.send(200, 3)
        flow.check()


def test_stream_from_the_first_frame(shared: Fabric) -> None:
    """A TCP stream at full speed across the switch: no segment comes out of order."""
    one, other = fresh_pair(shared, "stream", 5)
    exchange(*connect(one, other, other.ip), 32 * MEGABYTE, back=32 * MEGABYTE)
    for partition in (one, other):
        table = partition.run(["nstat", "-asz", "TcpExtTCPOFOQueue"]).stdout.split()
        assert table[table.index("TcpExtTCPOFOQueue") + 1] == "0"


def test_order_while_idle_links_are_given_back_and_remade(fabric: Fabric) -> None:
    """Pauses around the idle timeout: links close under frames that are on their way."""
    fabric.up("--idle-timeout", "0.25")
    one, other = fresh_pair(fabric, "idle", 6)
    with Flow(one, other) as there, Flow(other, one) as back:
        for pause in (0.2, 0.23, 0.24, 0.245, 0.25, 0.255, 0.26, 0.27, 0.3, 0.35, 0.4, 0.5):
            there.send(2000, 0.02)
            back.send(2000, 0.02)
            there.send(1 / pause, 2 * pause)
        for _ in range(3):
            fabric.wait_path(one, other, "relay")
            there.send(2000, 0.2)
            fabric.wait_path(one, other, "direct")
            back.send(2000, 0.02)
        there.check()
        back.check()
