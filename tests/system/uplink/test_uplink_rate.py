"""Bandwidth at the uplink: a partition's limit is kept, and a flood for or from one does not starve the others."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.streams import iperf, on_the_wire, serve
from tests.framework.uplink.uplink import Uplinked
from tests.system.conftest import MakeMachine

RATE = 100e6
DATAGRAM = 1400
UDP_HEADERS = 14 + 20 + 8


@pytest.fixture(scope="module")
def limited(make_module_machine: MakeMachine) -> dict[str, Uplinked]:
    """For some modes, partitions with a limit of 100 Mbit/s towards the uplink."""
    return {mode: Uplinked.start(make_module_machine(), mode, rate="100mbit") for mode in ("bridge", "nat")}


def iperfs(up: Uplinked, *options: str, seconds: int = 2) -> list[dict[str, Any]]:
    """What iperf3 reports of a run from `web` to the remote host, and of one from there to `db` at the same time."""
    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(iperf, client, up.remote, *options, *way, port=port, seconds=seconds)
            for client, way, port in ((up.web, (), 5301), (up.db, ("-R",), 5302))
        ]
        return [each.result() for each in running]


@pytest.mark.parametrize("mode", ["bridge", "nat"])
def test_tcp_has_the_rate(limited: dict[str, Uplinked], mode: str) -> None:
    """Each partition its own, and each way; after a second, in which the streams find it."""
    for end in iperfs(limited[mode], "-O", "1"):
        assert on_the_wire(end) == pytest.approx(RATE, rel=0.2)


def test_each_way_has_a_rate_of_its_own(limited: dict[str, Uplinked]) -> None:
    """It is changed while the partition goes on: `web` sends, and `db` receives."""
    up = limited["bridge"]

    def change(*words: str) -> None:
        for each in (up.web, up.db):
            each.fabric.cli("partition", "set", each.name, *words)

    try:
        for words, out, inward in (
            (("--rate-in", "20mbit"), RATE, 20e6),
            (("--rate", "30mbit", "--rate-in", "60mbit"), 30e6, 60e6),
        ):
            change(*words)
            sent, received = (on_the_wire(end) for end in iperfs(up, "-O", "1"))
            assert sent == pytest.approx(out, rel=0.2)
            assert received == pytest.approx(inward, rel=0.2)
    finally:
        change("--rate", "100mbit", "--rate-in", "0")


def test_udp_is_cut_to_the_rate(limited: dict[str, Uplinked]) -> None:
    for end in iperfs(limited["bridge"], "-u", "-b", "300M", "-l", str(DATAGRAM)):
        received = end["sum_received"][
            "bits_per_second"
        ]  # "sum" does not count as lost what never came at the end
        assert received * (DATAGRAM + UDP_HEADERS) / DATAGRAM == pytest.approx(RATE, rel=0.2)


def test_between_partitions_there_is_no_limit(limited: dict[str, Uplinked]) -> None:
    up = limited["bridge"]
    assert iperf(up.web, up.db)["sum_received"]["bits_per_second"] > 10 * RATE


def test_the_limit_is_shown(limited: dict[str, Uplinked]) -> None:
    web = limited["bridge"].web
    assert web.info["rate"] == RATE
    shown = web.fabric.cli("partition", "show", web.name).stdout
    assert any("rate" in line and "100" in line for line in shown.splitlines()), shown


@contextmanager
def flooded(sender: Partition, target: Partition) -> Iterator[None]:
    """Datagrams of 64 bytes as fast as they go, for as long as the block runs."""
    serve(target, ["iperf3", "-s", "-1", "-p", "5399"], 5399)
    words = ["iperf3", "-c", target.ip, "-p", "5399", "-u", "-b", "0", "-l", "64", "-t", "30"]
    process = sender.popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def control_answers(fabric: Fabric, within: float) -> Iterator[None]:
    """Fails when a request on the control socket took longer while the block ran."""
    ended = Event()
    times: list[float] = []

    def ask() -> None:
        while not ended.wait(0.02):
            start = time.monotonic()
            fabric.call("fabric.ping")
            fabric.call("uplink.show")
            times.append(time.monotonic() - start)

    thread = Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert len(times) > 10
    assert max(times) < within, json.dumps(times)


FLOODS: dict[str, Callable[[Uplinked], tuple[Partition, Partition]]] = {
    "from outside": lambda up: (up.remote, up.web),
    "from a partition": lambda up: (up.web, up.remote),
    "to the machine": lambda up: (up.web, up.here),
}
CASES = [("bridge", flood) for flood in FLOODS] + [("shared", "from outside"), ("nat", "from a partition")]


@pytest.mark.parametrize(("uplinked", "flood"), CASES, indirect=["uplinked"])
def test_a_flood_does_not_starve_the_others(uplinked: Uplinked, flood: str) -> None:
    """The other partition talks to the world and to the machine, and the control socket answers."""
    db, remote, here = uplinked.db, uplinked.remote, uplinked.here
    sender, target = FLOODS[flood](uplinked)
    pairs = [(db, remote), (db, here), (here, db)]
    if uplinked.mode != "nat":
        pairs.append((remote, db))
    with flooded(sender, target), control_answers(uplinked.machine.fabric, 0.3):
        pings = [one.start_ping(other.ip6, count=100) for one, other in pairs]
        results = [ping.result() for ping in pings]
    for result in results:
        assert result.lost <= 0.05 * result.sent, result
    assert uplinked.web.ping(remote.ip, count=10).lost == 0
