"""What vnicd costs beside the frames: idle CPU, memory, and the time until partitions are there.

Each cost stands for itself: it has samples and a bar, and no reference to compare with.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from tests.bench.environments import PREFIX, Vnicd
from tests.bench.figures import Bar, Metric
from tests.bench.loads.slow_reader import frames_to_the_third
from tests.bench.loads.tools import ToolFailed
from tests.bench.loads.workloads import Settings
from tests.bench.processes import pss

Samples = Iterator[float]

IDLE_PARTITIONS = 16
IDLE_WINDOW = 10.0
"""Seconds for which idle daemons are watched at least."""

ALL_PARTITIONS = 64
ALL_PAIRS = ALL_PARTITIONS * (ALL_PARTITIONS - 1) // 2
AT_ONCE = 8
"""Partitions made, or pinging, at the same time."""


@dataclass(frozen=True)
class Cost:
    """One cost; `run` yields its samples."""

    metric: Metric
    bar: Bar
    run: Callable[[Settings], Samples]

    @property
    def name(self) -> str:
        return self.metric.name


def _vnicd(settings: Settings, idle: int = 0) -> Vnicd:
    return Vnicd(settings.mtu, idle)


def idle_cpu(settings: Settings) -> Samples:
    """Percent of one core that all daemons of a fabric with 16 idle partitions use.

    The first window is not counted: the kernel's own chatter about a new interface (duplicate address
    detection, router solicitation, multicast reports) goes through it.
    """
    window = max(IDLE_WINDOW, settings.seconds)
    with _vnicd(settings, IDLE_PARTITIONS - 2) as fabric:
        for sample in range(min(settings.rounds, 3) + 1):
            before, start = fabric.daemon_cpu(), time.monotonic()
            Event().wait(window)
            used = (fabric.daemon_cpu() - before) / (time.monotonic() - start) * 100
            if sample:
                yield used


def memory(settings: Settings) -> Samples:
    """MiB (PSS) of each of two partitions' daemons that have a link to each other, without the rings.

    Two and not more, because what daemons share counts less for each of many.
    """
    with _vnicd(settings) as fabric:
        status = fabric.fabric.call("status")
        for port in status["ports"]:
            if port["port"] and port["pid"]:
                yield pss(port["pid"]) / 2**20


def add_until_ping(settings: Settings) -> Samples:
    """Seconds from starting `vnicctl partition add` until the new partition answers a ping."""
    with _vnicd(settings) as environment:
        for number in range(settings.rounds):
            name, address = environment.fabric.name(f"new{number}"), f"10.77.2.{number + 1}"
            start = time.monotonic()
            environment.fabric.cli("partition", "add", name, "--address", f"{address}/{PREFIX}")
            _ping_until_answered(environment, address)
            yield time.monotonic() - start


def _ping_until_answered(environment: Vnicd, address: str, timeout: float = 10) -> None:
    """Many short tries, because ping itself looks again only once a second."""
    ping = environment.argv_in("a", ["ping", "-q", "-n", "-c", "1", "-W", "0.1", address])
    deadline = time.monotonic() + timeout
    while subprocess.run(ping, stdout=subprocess.DEVNULL, check=False).returncode:
        if time.monotonic() > deadline:
            raise ToolFailed(f"{address} does not answer")


def all_pairs(settings: Settings) -> Samples:
    """Seconds from `vnicctl up` until 64 partitions are there and every pair of them has pinged."""
    start = time.monotonic()
    with _vnicd(settings, ALL_PARTITIONS - 2) as environment:
        names = [environment.fabric.name(label) for label in ("a", "b")]
        addresses = list(environment.address.values())
        for number in range(ALL_PARTITIONS - 2):
            names.append(environment.fabric.name(f"idle{number}"))
            addresses.append(f"10.77.1.{number + 1}")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [pool.submit(_ping_each, names[i], addresses[i + 1 :]) for i in range(ALL_PARTITIONS)]
            lost = [pair for job in jobs for pair in job.result()]
        seconds = time.monotonic() - start
    if lost:
        raise ToolFailed(f"{len(lost)} of {ALL_PAIRS} pairs had no answer, such as {lost[0]}")
    yield seconds


def _ping_each(name: str, addresses: list[str]) -> list[str]:
    """Pings from one partition, one after the other; the reply is the pair's other direction."""
    script = 'for to; do ping -q -n -c 1 -W 5 "$to" >/dev/null || echo "$to"; done'
    command = ["ip", "netns", "exec", name, "sh", "-c", script, "sh", *addresses]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [f"{name} to {address}" for address in done.stdout.split()]


def beside_slow_reader(settings: Settings) -> Samples:
    """Thousands of frames per second to a third partition while a slow reader keeps its sender's ring full."""
    for _ in range(settings.rounds):
        yield frames_to_the_third(settings.seconds) / 1e3


COSTS = (
    Cost(
        Metric("idle_cpu", f"{IDLE_PARTITIONS} idle partitions, CPU", "% of a core", False),
        Bar(0.5),
        idle_cpu,
    ),
    Cost(Metric("memory", "A partition daemon, PSS without rings", "MiB", False), Bar(16.0), memory),
    Cost(Metric("add", "partition add until the first ping", "s", False), Bar(0.3), add_until_ping),
    Cost(
        Metric("pairs", f"{ALL_PARTITIONS} partitions up, all pairs pinged", "s", False), Bar(90.0), all_pairs
    ),
    Cost(
        Metric("slow_reader", "Frames to a third, a slow reader beside", "thousand/s", True),
        Bar(20.0),
        beside_slow_reader,
    ),
)
