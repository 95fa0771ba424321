"""What is measured between the two ends of an environment: each workload runs once and returns its figures.

UDP with 64-byte payloads is sent by one iperf3 without a rate limit. On veth, sockperf throughput and
iperf 2, whose senders do nothing but send, reach the same rate within 10% (170 to 190 thousand a second
where this was tried), and two iperf3 at once deliver less in all: the ceiling is the path through the
kernel, not the tool, so nothing more special is used.

TCP runs with cubic, Debian's default, wherever the machine is set to something else: BBR paces itself by
what it believes the path's delay to be, and would measure that instead of the path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.environments import Environment
from tests.bench.figures import Metric
from tests.bench.loads import parsing
from tests.bench.loads.clean_rate import highest_clean_rate
from tests.bench.loads.hogs import half_busy, hogs
from tests.bench.loads.tools import Protocol, run, server

IPERF_PORT, SOCKPERF_PORT = 5201, 11111
UDP_PAYLOAD = 64
PERCENTILES = (50.0, 99.0)
SPARSE_INTERVAL = 0.002
"""Seconds from one ping to the next where each is to find everybody asleep."""
TWO, TEN = 2, 10
"""Programs that compute beside; on two CPUs the second is a load of 10."""
REVERSE = ("-R",)
"""Lets the server of iperf3 send."""


@dataclass(frozen=True)
class Settings:
    """How thoroughly to measure."""

    seconds: float = 3.0
    rounds: int = 5
    mtu: int = 1500
    search_steps: int = 7
    """Halvings of the interval that the highest clean rate is searched in."""


@dataclass(frozen=True)
class Workload:
    """One measurement in an environment; `run` gives a figure for each of its metrics, by name."""

    name: str
    metrics: tuple[Metric, ...]
    run: Callable[[Environment, Settings], Mapping[str, float]]


def iperf3(environment: Environment, seconds: float, *options: str) -> str:
    """The report of one iperf3 whose client is at a and its server at b."""
    receive = ["iperf3", "-s", "-1", "-p", str(IPERF_PORT)]
    send = [
        "iperf3",
        "-c",
        environment.address["b"],
        "-p",
        str(IPERF_PORT),
        "-J",
        "-t",
        f"{seconds:g}",
        *options,
    ]
    with server(environment, "b", receive, IPERF_PORT, "tcp"):
        return run(environment, "a", send, seconds)


def congestion_control() -> list[str]:
    known = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    return ["-C", "cubic"] if "cubic" in known else []


def tcp(environment: Environment, settings: Settings, streams: int = 1, back: bool = False) -> float:
    """Gbit/s from a to b, or from b to a: a connects in both cases."""
    options = [*congestion_control(), "-P", str(streams), *(REVERSE if back else ())]
    return parsing.iperf3_tcp(iperf3(environment, settings.seconds, *options))


def udp(
    environment: Environment, seconds: float, per_second: float | None, back: bool = False
) -> parsing.Datagrams:
    """64-byte datagrams from a to b or back, at some rate or as fast as the sender can.

    Paced in steps of 0.1 ms: with iperf3's own 1 ms the bursts alone would fill the receiver's socket buffer.
    """
    bits = 0 if per_second is None else round(per_second * UDP_PAYLOAD * 8)
    options = ["-u", "-l", str(UDP_PAYLOAD), "-b", str(bits), "--pacing-timer", "100"]
    options += REVERSE if back else ()
    return parsing.iperf3_udp(iperf3(environment, seconds, *options))


def udp_clean(environment: Environment, settings: Settings) -> Mapping[str, float]:
    trial_seconds = max(1.0, settings.seconds / 3)
    rate = highest_clean_rate(lambda rate: udp(environment, trial_seconds, rate), settings.search_steps)
    return {"udp_clean": rate / 1e3}


def ping_pong(environment: Environment, settings: Settings, protocol: Protocol) -> Mapping[str, float]:
    where = [
        "-i",
        environment.address["b"],
        "-p",
        str(SOCKPERF_PORT),
        *(["--tcp"] if protocol == "tcp" else []),
    ]
    seconds = max(1, round(settings.seconds))
    with server(environment, "b", ["sockperf", "server", *where], SOCKPERF_PORT, protocol):
        # sockperf ends with an error after some million messages; a direct connection makes them in a second.
        text = run(
            environment, "a", ["sockperf", "ping-pong", *where, "-t", str(seconds), "--mps=500000"], seconds
        )
    found = parsing.sockperf_percentiles(text, PERCENTILES)
    return {f"{protocol}_p{percentile:g}": value for percentile, value in found.items()}


def flood(environment: Environment, settings: Settings) -> Mapping[str, float]:
    seconds = max(1, round(settings.seconds))
    command = ["ping", "-f", "-q", "-n", "-w", str(seconds), environment.address["b"]]
    found = parsing.ping_flood(run(environment, "a", command, seconds))
    return {"ping_rtt": found.rtt_us, "ping_each": 1e6 / found.per_second}


def sparse(environment: Environment, settings: Settings) -> Mapping[str, float]:
    """Pings that each come out of silence."""
    count = max(1, round(settings.seconds / SPARSE_INTERVAL))
    command = ["ping", "-q", "-n", "-i", f"{SPARSE_INTERVAL}", "-c", str(count), environment.address["b"]]
    return {"ping_sparse": parsing.ping_mean_us(run(environment, "a", command, settings.seconds))}


def flood_beside(environment: Environment, settings: Settings, count: int) -> float:
    """Microseconds from one ping of `ping -f` to the next, beside so many programs that compute."""
    with hogs(count):
        return flood(environment, settings)["ping_each"]


def beside_two(environment: Environment, settings: Settings) -> Mapping[str, float]:
    with hogs(TWO):
        p50 = ping_pong(environment, settings, "tcp")["tcp_p50"]
    return {"ping_two": flood_beside(environment, settings, TWO), "tcp_p50_two": p50}


CPU_RATE = 20_000
"""Datagrams a second at which the CPU time for one is measured: all of them fit, with any environment."""


def cpu_per_frame(environment: Environment, settings: Settings) -> Mapping[str, float]:
    """CPU time of all daemons, the idle ones too, for each frame carried."""
    before = environment.daemon_cpu()
    found = udp(environment, settings.seconds, CPU_RATE)
    spent = environment.daemon_cpu() - before
    return {"cpu_per_frame": spent * 1e6 / (found.received * settings.seconds)}


def _ping_pong_metrics(protocol: str) -> tuple[Metric, ...]:
    title = f"{protocol.upper()} ping-pong, half RTT, p"
    return tuple(Metric(f"{protocol}_p{p:g}", f"{title}{p:g}", "us", False) for p in PERCENTILES)


def _tcp_workload(name: str, where: str, back: bool) -> Workload:
    metric = Metric(name, f"TCP, one stream{where}", "Gbit/s", True)
    return Workload(name, (metric,), lambda env, settings: {name: tcp(env, settings, back=back)})


def _udp_workload(name: str, where: str, back: bool) -> Workload:
    """Saturated: what arrives, and what was sent meanwhile."""
    sent = f"{name}_sent"

    def measure(environment: Environment, settings: Settings) -> Mapping[str, float]:
        found = udp(environment, settings.seconds, None, back)
        return {name: found.received / 1e3, sent: found.sent / 1e3}

    metrics = (
        Metric(name, f"UDP 64 B delivered{where or ', saturated'}", "kpps", True),
        Metric(sent, "UDP 64 B offered meanwhile", "kpps", True),
    )
    return Workload(name, metrics, measure)


TCP = _tcp_workload("tcp", "", back=False)
TCP4 = Workload(
    "tcp4",
    (Metric("tcp4", "TCP, four streams", "Gbit/s", True),),
    lambda env, settings: {"tcp4": tcp(env, settings, streams=4)},
)
UDP = _udp_workload("udp", "", back=False)
UDP_CLEAN = Workload(
    "udp_clean", (Metric("udp_clean", "UDP 64 B, under 0.1% lost", "kpps", True),), udp_clean
)
TCP_PING_PONG = Workload(
    "tcp_pp", _ping_pong_metrics("tcp"), lambda env, settings: ping_pong(env, settings, "tcp")
)
UDP_PING_PONG = Workload(
    "udp_pp", _ping_pong_metrics("udp"), lambda env, settings: ping_pong(env, settings, "udp")
)
FLOOD = Workload(
    "ping",
    (
        Metric("ping_rtt", "ping -f, mean RTT", "us", False),
        Metric("ping_each", "ping -f, from one to the next", "us", False),
    ),
    flood,
)
SPARSE = Workload("ping_sparse", (Metric("ping_sparse", "ping every 2 ms, mean RTT", "us", False),), sparse)
BESIDE_TWO = Workload(
    "two",
    (
        Metric("ping_two", "ping -f beside 2 hogs, each", "us", False),
        Metric("tcp_p50_two", "TCP ping-pong beside 2 hogs, p50", "us", False),
    ),
    beside_two,
)
BESIDE_TEN = Workload(
    "ten",
    (Metric("ping_ten", "ping -f beside 10 hogs, each", "us", False),),
    lambda env, settings: {"ping_ten": flood_beside(env, settings, TEN)},
)
CPU_PER_FRAME = Workload(
    "cpu_per_frame", (Metric("cpu_per_frame", "CPU of all daemons for a frame", "us", False),), cpu_per_frame
)


def _tcp_beside_half_busy(name: str, where: str, back: bool) -> Workload:
    def measure(environment: Environment, settings: Settings) -> Mapping[str, float]:
        with half_busy():
            return {name: tcp(environment, settings, back=back)}

    return Workload(name, (Metric(name, f"TCP{where}, beside a half-busy core", "Gbit/s", True),), measure)


def both_ways(there: str, back: str) -> tuple[Workload, ...]:
    """TCP, also beside other work, and UDP in each direction, and TCP ping-pong.

    The texts say what a to b is, and b to a.
    """
    return (
        _tcp_workload("tcp", f", {there}", back=False),
        _tcp_workload("tcp_back", f", {back}", back=True),
        _tcp_beside_half_busy("tcp_half", f", {there}", back=False),
        _tcp_beside_half_busy("tcp_back_half", f", {back}", back=True),
        TCP_PING_PONG,
        _udp_workload("udp", f", {there}", back=False),
        _udp_workload("udp_back", f", {back}", back=True),
    )
