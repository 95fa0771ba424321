"""What is compared with what: a suite is its environments, workloads and bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.bench.environments import Environment, VethBridge, Vnicd, VnicdCrowded
from tests.bench.figures import Bar
from tests.bench.loads import workloads as w
from tests.bench.uplink import KernelBridge, KernelNat, UplinkBridge, UplinkNat


@dataclass(frozen=True)
class Suite:
    """The first environment is under test, the second is what its ratios refer to."""

    name: str
    title: str
    environments: tuple[type[Environment], ...]
    workloads: tuple[w.Workload, ...]
    bars: Mapping[str, Bar]
    """By metric; bars are for the ratio of the medians."""
    one_at_a_time: bool = False
    """Each round makes each environment anew and alone: for those that would load the machine meanwhile."""

    def chosen(self, wanted: Callable[[str], bool]) -> tuple[w.Workload, ...]:
        """The workloads that were asked for, by the suite's name or their own."""
        return tuple(
            load for load in self.workloads if wanted(self.name) or wanted(f"{self.name}.{load.name}")
        )


FRAMES = Suite(
    name="frames",
    title="vnicd and veth+bridge",
    environments=(Vnicd, VethBridge),
    workloads=(w.TCP, w.TCP4, w.UDP, w.UDP_CLEAN, w.TCP_PING_PONG, w.UDP_PING_PONG, w.FLOOD),
    bars={
        "tcp": Bar(0.75, 1.0),
        "tcp4": Bar(0.75, 1.0),
        "udp": Bar(0.7, 1.0),
        "tcp_p50": Bar(0.75, 0.5),
        "tcp_p99": Bar(1.5),
        "ping_each": Bar(23, 15, absolute=True),
    },
)

BUSY = Suite(
    name="busy",
    title="vnicd and veth+bridge beside programs that compute (hogs), and out of silence",
    environments=(Vnicd, VethBridge),
    workloads=(w.BESIDE_TWO, w.BESIDE_TEN, w.SPARSE),
    bars={
        "ping_two": Bar(100, 20, absolute=True),
        "tcp_p50_two": Bar(60, 20, absolute=True),
        "ping_ten": Bar(300, absolute=True),
        "ping_sparse": Bar(120, 80, absolute=True),
    },
)

SCALE = Suite(
    name="scale",
    title="two busy partitions with 30 idle ones beside, and without",
    environments=(VnicdCrowded, Vnicd),
    workloads=(w.TCP, w.TCP_PING_PONG, w.CPU_PER_FRAME),
    # That a cost does not grow is told to within what two equal measurements differ by.
    bars={"tcp": Bar(0.9), "tcp_p50": Bar(1.1), "cpu_per_frame": Bar(1.1)},
    one_at_a_time=True,
)

SUITES = (FRAMES, BUSY, SCALE)

TCP_WAYS = ("tcp", "tcp_back", "tcp_half", "tcp_back_half")


def _uplink_bars(tcp: float) -> Mapping[str, Bar]:
    """The kernel's way runs in the sender's own time, so TCP's bars differ by how much of it there is."""
    others = {"tcp_p50": Bar(1.0), "udp": Bar(0.4, 1.0), "udp_back": Bar(0.4, 1.0)}
    return {**{name: Bar(tcp, 1.0) for name in TCP_WAYS}, **others}


BRIDGE = Suite(
    name="bridge",
    title="the uplink in bridge mode, and the kernel's veth + bridge + veth",
    environments=(UplinkBridge, KernelBridge),
    workloads=w.both_ways("from the remote", "to the remote"),
    bars=_uplink_bars(0.8),
)

NAT = Suite(
    name="nat",
    title="the uplink in nat mode, and the kernel's bridge and masquerade",
    environments=(UplinkNat, KernelNat),
    workloads=w.both_ways("to the remote", "from the remote"),
    bars=_uplink_bars(0.7),
)

UPLINK_SUITES = (BRIDGE, NAT)


def against_itself(suite: Suite, name: str) -> Suite:
    """The reference of a suite twice: how far apart two equal things come out."""
    reference = suite.environments[1]
    again = type(f"{reference.__name__}Again", (reference,), {"name": f"{reference.name} again"})
    title = f"{reference.name} against itself: how far apart two equal things come out"
    return Suite(name, title, (again, reference), suite.workloads, bars={})


NOISE_SUITES = (against_itself(FRAMES, "noise"),)
UPLINK_NOISE_SUITES = tuple(against_itself(suite, f"noise-{suite.name}") for suite in UPLINK_SUITES)
