"""Reading what the programs that measure and /proc say (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any


class Unreadable(ValueError):
    """The output is not what the tool prints when it worked."""


@dataclass(frozen=True)
class Datagrams:
    """One UDP trial: what the sender offered, what came out at the receiver, in datagrams per second."""

    sent: float
    received: float
    lost: float
    """The part of them that is missing, 0 to 1."""


@dataclass(frozen=True)
class Flood:
    """One `ping -f`."""

    rtt_us: float
    per_second: float


def _iperf3_end(text: str) -> dict[str, Any]:
    try:
        report = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"iperf3 printed no JSON: {text[:200]!r}") from error
    if "error" in report:
        raise Unreadable(f"iperf3: {report['error']}")
    end: dict[str, Any] = report.get("end", {})
    return end


def iperf3_tcp(text: str) -> float:
    """Gbit/s that reached the receiver."""
    end = _iperf3_end(text)
    try:
        return float(end["sum_received"]["bits_per_second"]) / 1e9
    except KeyError as error:
        raise Unreadable("iperf3 reports no received bytes") from error


def iperf3_udp(text: str) -> Datagrams:
    """Loss is taken from the receiver's sequence numbers: what is under way at the end counts as neither."""
    end = _iperf3_end(text)
    try:
        sent, received = end["sum_sent"], end["sum_received"]
        expected = received["packets"]
        arrived = expected - received["lost_packets"]
        return Datagrams(
            sent=sent["packets"] / sent["seconds"],
            received=arrived / received["seconds"],
            lost=received["lost_packets"] / expected if expected else 1.0,
        )
    except (KeyError, ZeroDivisionError) as error:
        raise Unreadable("iperf3 reports no received datagrams") from error


def sockperf_percentiles(text: str, percentiles: Iterable[float]) -> dict[float, float]:
    """Microseconds (of half a round trip) by percentile."""
    found = {
        float(percentile): float(value)
        for percentile, value in re.findall(r"percentile\s+([0-9.]+)\s*=\s*([0-9.]+)", text)
    }
    try:
        return {wanted: found[wanted] for wanted in percentiles}
    except KeyError as error:
        raise Unreadable(f"sockperf reports no percentile {error}: {text[-200:]!r}") from error


def ping_flood(text: str) -> Flood:
    counts = re.search(r"(\d+) packets transmitted, (\d+) received.*time (\d+)ms", text)
    if not counts or not int(counts[2]) or not int(counts[3]):
        raise Unreadable(f"ping got no answers: {text[-200:]!r}")
    return Flood(rtt_us=ping_mean_us(text), per_second=int(counts[2]) * 1000 / int(counts[3]))


def ping_mean_us(text: str) -> float:
    """The mean round trip of a `ping -q` that had answers."""
    times = re.search(r"rtt min/avg/max/mdev = [0-9.]+/([0-9.]+)/", text)
    if not times:
        raise Unreadable(f"ping got no answers: {text[-200:]!r}")
    return float(times[1]) * 1000


def redis_per_second(text: str) -> float:
    """Requests per second of the last test in what `redis-benchmark --csv` prints."""
    rows = [line.split(",") for line in text.splitlines() if line.startswith('"')]
    try:
        return float(rows[-1][1].strip('"'))
    except (IndexError, ValueError) as error:
        raise Unreadable(f"redis-benchmark reports no rate: {text[-200:]!r}") from error


def wrk_per_second(text: str) -> float:
    """Requests per second, if all of them were answered well."""
    found = re.search(r"Requests/sec:\s*([0-9.]+)", text)
    errors = re.search(r"(Non-2xx.*|Socket errors: (?!connect 0, read 0, write 0, timeout 0).*)", text)
    if errors or not found or not float(found[1]):
        raise Unreadable(f"wrk: {errors[1] if errors else text[-200:]!r}")
    return float(found[1])


def pgbench_per_second(text: str) -> float:
    """Transactions per second, without the time that connecting took."""
    found = re.search(r"tps = ([0-9.]+) \(without initial connection time\)", text)
    if not found or "number of failed transactions: 0 " not in text:
        raise Unreadable(f"pgbench: {text[-200:]!r}")
    return float(found[1])


def per_second(text: str) -> float:
    """What our own program prints."""
    found = re.match(r"([0-9.]+) per second", text)
    if not found:
        raise Unreadable(f"connect: {text[-200:]!r}")
    return float(found[1])


def paced(text: str) -> tuple[float, float]:
    """What our own program prints: the part of the requests that were answered in time, and a percentile in us."""
    found = re.match(r"([0-9]+) of ([0-9]+), ([0-9.]+) us", text)
    if not found:
        raise Unreadable(f"connect: {text[-200:]!r}")
    return int(found[1]) / int(found[2]), float(found[3])


def median_us(text: str) -> float:
    """Of the times that our own program has printed, run after run."""
    times = [re.fullmatch(r"([0-9.]+) us", line) for line in text.splitlines()]
    if not times or not all(times):
        raise Unreadable(f"connect: {text[-200:]!r}")
    return median(float(found[1]) for found in times if found)


_SHARED_MEMORY = ("/memfd:", "/anon_hugepage", "/dev/shm/")


def own_pss(smaps: str) -> int:
    """Bytes of the proportional set size in /proc/PID/smaps, without memory that is shared on purpose."""
    total, counted = 0, True
    for line in smaps.splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            path = [*line.split(maxsplit=5), ""][5]
            counted = not path.startswith(_SHARED_MEMORY)
        elif counted and line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024
    return total


def schedstat_ns(text: str) -> int:
    """Nanoseconds on a CPU, of one line of /proc/PID/task/TID/schedstat."""
    return int(text.split(maxsplit=1)[0])


TCP_LISTEN = "0A"


def has_socket(table: str, port: int, state: str = "") -> bool:
    """Whether /proc/PID/net/tcp, udp and the like name a socket bound to `port` (in this state)."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and state in ("", fields[3]):
            return True
    return False
