"""What a check has found out about two ends and the way between them: passive data, which verdict.py judges.

The *near* end is the one that wants to reach the *far* one, which is a partition, the host, or something outside.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Json = dict[str, Any]


class Stage(Enum):
    """Where on its way there and back a probe vanished; the order is that of the way."""

    SEND = "send"
    """The near kernel did not take it: it has no route, say."""
    LEAVE = "leave"
    """It did not get out of the near interface."""
    CROSS = "cross"
    """vnicd had it, and it did not come out of the far interface."""
    ANSWER = "answer"
    """The far kernel had it, and no answer came out of the far interface."""
    RETURN = "return"
    """vnicd had the answer, and it did not come out of the near interface."""
    RECEIVE = "receive"
    """The near kernel had the answer, and did not hand it to who had asked."""
    DONE = "done"


class Kind(Enum):
    """What vanished: the question for the neighbour's MAC before the echo request, the request, or a TCP segment."""

    NEIGHBOUR = "neighbour"
    ECHO = "echo"
    TCP = "tcp"


@dataclass
class Link:
    """An interface."""

    name: str
    index: int = 0
    is_up: bool = True
    carrier: bool = True
    no_arp: bool = False
    mac: str = ""
    mtu: int = 0
    kind: str = ""
    master: str = ""
    """The bridge, VRF or bond that it belongs to."""
    xdp: bool = False


@dataclass
class Address:
    ifname: str
    text: str
    """With its prefix length."""
    tentative: bool = False
    duplicate: bool = False

    @property
    def interface(self) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
        return ipaddress.ip_interface(self.text)

    @property
    def ip(self) -> str:
        return str(self.interface.ip)


@dataclass
class Route:
    """How a kernel would send to an address."""

    error: str = ""
    """The kernel's words when it would not."""
    dev: str = ""
    gateway: str = ""
    source: str = ""
    is_local: bool = False
    """The address is the namespace's own."""
    mtu: int = 0
    """What the kernel has learned of the path, 0 if nothing."""


@dataclass
class Rule:
    """A policy rule of a namespace, but for the three that every namespace has."""

    priority: int
    text: str
    to: str = ""
    """The network that it is for, empty if for all."""


@dataclass
class Neighbour:
    mac: str = ""
    state: str = ""
    """incomplete, reachable, stale, delay, probe, failed, noarp or permanent; empty when there is no entry."""

    @property
    def is_known(self) -> bool:
        return bool(self.mac) and self.state not in ("", "incomplete", "failed")


@dataclass
class Listener:
    address: str
    queued: int = 0
    limit: int = 0


@dataclass
class Scene:
    """What is in a namespace."""

    links: dict[str, Link] = field(default_factory=dict)
    addresses: list[Address] = field(default_factory=list)
    rules: dict[int, list[Rule]] = field(default_factory=dict)
    """By IP version."""
    refusing: list[tuple[str, str]] = field(default_factory=list)
    """Routes that lead nowhere: the prefix, and blackhole, unreachable or prohibit."""
    sysctls: dict[str, str] = field(default_factory=dict)
    filters: list[str] = field(default_factory=list)
    """The tc hooks of the interface that have filters: ingress or egress."""
    listeners: list[Listener] | None = None
    """Of the TCP port that was asked for; None when that is not known."""


@dataclass
class Tally:
    """Counters of a namespace, at one time."""

    snmp: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    """Packets that a queueing discipline of the interface has dropped, by its kind."""
    nft: Json | None = None
    """What `nft -j list ruleset` prints; None when it can't be had."""
    legacy: str = ""
    """What iptables-legacy-save and ip6tables-legacy-save print."""


ROOM_FOR_FILES = 8
"""Descriptors that a daemon needs free for one more link."""


@dataclass
class Daemon:
    pid: int = 0
    state: str = "up"
    """up, stopped, frozen or dead."""
    files: int = 0
    most_files: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it has too few descriptors left for one more link."""
        return 0 < self.most_files < self.files + ROOM_FOR_FILES


@dataclass
class End:
    name: str
    kind: str = "partition"
    """partition, host or outside."""
    ifname: str = "vnic0"
    netns: str = ""
    owns_netns: bool = True
    state: str = "up"
    reason: str = ""
    mac: str = ""
    mtu: int = 0
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    daemon: Daemon = field(default_factory=Daemon)
    missing: str = ""
    """Why there is no scene."""
    scene: Scene | None = None
    before: Tally = field(default_factory=Tally)
    after: Tally = field(default_factory=Tally)
    drops: dict[str, int] = field(default_factory=dict)
    """Frames that its daemon has dropped meanwhile, by reason."""
    taken: int | None = None
    """Frames that its daemon has read from its interface meanwhile; None when nobody tells."""
    given: int | None = None
    """Frames that its daemon has written to its interface meanwhile."""

    @property
    def link(self) -> Link | None:
        return self.scene.links.get(self.ifname) if self.scene else None

    def grew(self, name: str) -> int:
        """How much a counter of /proc/net/snmp, snmp6 or netstat has grown."""
        return self.after.snmp.get(name, 0) - self.before.snmp.get(name, 0)


@dataclass
class Refusal:
    """An ICMP error about a probe."""

    sender: str
    kind: int
    code: int
    mtu: int = 0


@dataclass
class Trace:
    """Where a probe was seen."""

    kind: Kind = Kind.ECHO
    error: str = ""
    """What the kernel said to the sender."""
    left: bool = False
    arrived: bool = False
    answered: bool = False
    returned: bool = False
    received: bool = False
    target_mac: str = ""
    """The MAC that it left for."""
    for_other: bool = False
    """It arrived with a MAC that is not the far interface's."""
    reset: bool = False
    """The answer was a TCP reset."""
    rtt_ms: float = 0.0
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        """Where it vanished. A packet that was seen later has passed what comes before, seen or not."""
        if self.received:
            return Stage.DONE
        for seen, stage in (
            (self.returned, Stage.RECEIVE),
            (self.answered, Stage.RETURN),
            (self.arrived, Stage.ANSWER),
            (self.left, Stage.CROSS),
        ):
            if seen:
                return stage
        return Stage.SEND if self.error else Stage.LEAVE


@dataclass(frozen=True)
class Holder:
    """Another end whose namespace has an address."""

    name: str
    ifname: str
    text: str
    """With its prefix length."""


@dataclass
class Way:
    """One family's way from the near end to an address of the far end."""

    version: int
    target: str
    source: str = ""
    there: Route = field(default_factory=Route)
    back: Route | None = None
    next_hop: str = ""
    neighbour: Neighbour = field(default_factory=Neighbour)
    """The near kernel's entry of the next hop, after the probes."""
    back_neighbour: Neighbour = field(default_factory=Neighbour)
    """The far kernel's of the near end."""
    holders: tuple[Holder, ...] = ()
    """Others that have the target as an address."""
    source_holders: tuple[Holder, ...] = ()
    ask: Trace = field(default_factory=lambda: Trace(Kind.NEIGHBOUR))
    echo: Trace = field(default_factory=Trace)
    frame: Trace | None = None
    """An echo request that was put on the near interface by hand, past its kernel."""
    frame_back: Trace | None = None
    echo_back: Trace | None = None
    onward: Route | None = None
    """How the machine sends to the target, where it forwards."""
    onward_neighbour: Neighbour = field(default_factory=Neighbour)
    large: Trace | None = None
    """With the largest packet that the near interface can send in one piece."""
    large_size: int = 0
    tcp: Trace | None = None


@dataclass
class Facts:
    near: End
    far: End
    ways: list[Way] = field(default_factory=list)
    host: Daemon = field(default_factory=Daemon)
    uplink: Json | None = None
    path: str = ""
    """direct, relay or empty when nobody tells."""
    host_drops: dict[str, int] = field(default_factory=dict)
    tcp_port: int = 0
    members: dict[str, str] = field(default_factory=dict)
    """The MAC of each port by name."""
    is_routed: bool = False
    """The machine's kernel forwards what is for the outside, as in nat mode."""
    vnic: str = ""
    """The machine's own interface in the fabric."""
    guarded: bool = False
    """A partition may send from its own addresses only."""
    direct_sockets: int | None = None
    """TCP connections between the two that are direct now."""
