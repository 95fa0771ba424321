"""The ports of a fabric: what the hosting daemon knows of each partition, and the rules between them."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from vnicd.errors import Busy, Exists, NotFound, Resources, Taken
from vnicd.host.ports.allowance import Allowance
from vnicd.host.ports.state_file import Saved
from vnicd.kernel import tap
from vnicd.kernel.netns import Home
from vnicd.native import counters, directory
from vnicd.native.memory import Region
from vnicd.spec.drift import Drift, Seen
from vnicd.spec.partition import MTU_DEFAULT, PartitionSpec, default_mac

if TYPE_CHECKING:
    from vnicd.host.ports.channel import Channel


@dataclass(frozen=True)
class Following:
    """What a partition's interface takes over from the uplink: its MTU (unless it has one of its own), whether it
    is connected, and whether it makes itself addresses when a router advertises some."""

    mtu: int = MTU_DEFAULT
    carrier: bool = True
    autoconf: bool = True


@dataclass(frozen=True)
class Location:
    """Where a partition's interface is, or is to be made."""

    spec: PartitionSpec
    tap: int = -1
    """The TAP, -1 when we do not have it in hand."""
    home: Home | None = None
    """Of a partition in a namespace of somebody else: that namespace, wherever the path leads by now."""
    is_under_way: bool = False
    """Somebody else has yet to move the interface to its place, and gives it its addresses there."""


class PortState(Enum):
    """How a partition is served; the values are what users see."""

    STARTING = "starting"
    UP = "up"
    """Its daemon has registered, and its link to the hosting daemon is open."""
    DOWN = "down"
    """Its daemon has died, and is about to be started again."""
    FAILED = "failed"
    """What its daemon needs can't be made; that is tried again and again."""


STOPPED = "stopped"
"""What is shown instead of "up" while its daemon's process is stopped."""

TRANSITIONS = {
    PortState.STARTING: {PortState.UP, PortState.DOWN, PortState.FAILED},
    PortState.UP: {PortState.DOWN},
    PortState.DOWN: {PortState.STARTING, PortState.UP, PortState.FAILED},
    PortState.FAILED: {PortState.STARTING, PortState.UP, PortState.DOWN},
}
"""Which state may follow which. Only a death ends "up": systemd may have started a daemon before we are through with
starting it, or have failed to, and that late report says nothing about the daemon that is there."""


class Stage(Enum):
    """Whether a partition belongs to the fabric. What is ADDING or REMOVING is taken away by a next hosting daemon."""

    ADDING = "added"
    MEMBER = "member"
    REMOVING = "removed"


@dataclass(eq=False)
class Port:
    """One partition at run time. Others read its fields, and say by its methods what has happened."""

    spec: PartitionSpec
    number: int
    stage: Stage = Stage.ADDING
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever makes or unmakes something of it."""

    # How it is served.
    state: PortState = PortState.STARTING
    reason: str = ""
    """Why the state is FAILED."""
    restarts: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is up; also when it is no more, for whoever waits."""

    # Its daemon's process: the supervisor.
    pid: int = 0
    started: int = 0
    pidfd: int = -1

    # Its daemon's connection: the registrar.
    channel: Channel | None = None
    allowance: Allowance | None = None
    """Of its daemons, from the first that has connected."""
    generation: int = 0
    counters: Region = field(default_factory=counters.create)

    # Its interface: the executor and the registrar, and the uplink for what it follows.
    tap: int = -1
    following: Following = Following()
    """What its interface is to have."""
    followed: Following | None = None
    """What it has for certain; None when another hosting daemon has made it."""

    # Its namespace, if that is somebody else's: the addition and the attachments.
    home: Home | None = None
    """What tells that from all others; None for one of ours."""
    is_vacant: bool = False
    """Nobody is in it and no path leads to it: nothing of ours may keep it alive."""
    birthplace: Home | None = None
    """Of an interface that is handed over: where it was made."""

    # What a look has found (host/partitions/drift.py): the drift watch.
    seen: Seen | None = None
    """What its interface has; None while that is not known."""
    drift: list[Drift] = field(default_factory=list)
    """What of that is otherwise than declared."""
    mended: int = 0
    """Settings that were put back so far."""
    is_stopped: bool = False
    """Its daemon's process was stopped by a signal or a debugger."""

    # Its link to the hosting daemon: the relay.
    page_size: int = 0

    # ----------------------------------------------------------------------- its place in the fabric

    @property
    def is_member(self) -> bool:
        return self.stage is Stage.MEMBER

    @property
    def is_being_added(self) -> bool:
        return self.stage is Stage.ADDING

    @property
    def is_being_removed(self) -> bool:
        return self.stage is Stage.REMOVING

    def check_member(self) -> None:
        """Busy while it is being added or removed."""
        if not self.is_member:
            raise Busy(f"the partition {self.spec.name} is being {self.stage.value}")

    def added(self) -> None:
        self.stage = Stage.MEMBER

    def begin_removal(self) -> None:
        self.stage = Stage.REMOVING

    def removal_failed(self) -> None:
        """It can be tried again."""
        self.stage = Stage.MEMBER

    def removed(self) -> None:
        """Let go of all that is held for it. Who still waits for it waits for nothing."""
        if self.channel is not None:
            self.channel.close()
        self.drop_tap()
        self.counters.close()
        self.up.set()

    def change_spec(self, spec: PartitionSpec) -> None:
        self.spec = spec

    # -------------------------------------------------------------------------------- how it is served

    def daemon_started(self) -> None:
        self._enter(PortState.STARTING)

    def daemon_came_up(self) -> None:
        self._enter(PortState.UP)
        self.up.set()

    def daemon_died(self) -> None:
        self._enter(PortState.DOWN)
        self.restarts += 1

    def revival_began(self) -> None:
        """Something of it is to be made again; from now on `up` says when its daemon has come up after that."""
        self.up.clear()

    def revival_failed(self, reason: str) -> None:
        self._enter(PortState.FAILED, reason)

    def _enter(self, state: PortState, reason: str = "") -> None:
        """The one place that writes the state. A report that is late changes nothing."""
        if state is self.state or state in TRANSITIONS[self.state]:
            self.state, self.reason = state, reason

    # ------------------------------------------------------------------------------ its daemon's process

    def watched(self, pid: int, started: int, pidfd: int) -> None:
        """The process, known by its start time; the pidfd is ours from now on."""
        self.pid, self.started, self.pidfd = pid, started, pidfd

    def unwatched(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pid, self.started, self.pidfd = 0, 0, -1

    # --------------------------------------------------------------------------- its daemon's connection

    def allow(self, now: float) -> Allowance:
        """What its daemons may take; `now` is the time of the event loop."""
        if self.allowance is None:
            self.allowance = Allowance(now)
        return self.allowance

    def connected(self, channel: Channel) -> None:
        """By this channel from now on; an earlier one has been closed."""
        channel.port, self.channel = self.number, channel

    def disconnected(self, channel: Channel) -> None:
        """Nothing happens when there is another channel by now."""
        if self.channel is channel:
            self.channel = None

    def generation_began(self) -> None:
        """A new daemon serves it."""
        self.generation += 1

    def generation_goes_on(self, generation: int) -> None:
        """A daemon goes on that has outlived the last hosting daemon."""
        self.generation = max(self.generation, generation)

    def take_counters(self, region: Region) -> None:
        """Those of a daemon that goes on; the region is ours from now on."""
        self.counters.close()
        self.counters = region

    # -------------------------------------------------------------------------------------- its interface

    def take_tap(self, fd: int) -> None:
        """The TAP, which is ours from now on."""
        self.close_tap()
        self.tap = fd

    def drop_tap(self) -> None:
        """The interface goes with it, also where no path leads to its namespace any more."""
        if self.tap >= 0:
            tap.let_go(self.tap)
            self.tap = -1

    def close_tap(self) -> None:
        """The interface stays, if there is one."""
        if self.tap >= 0:
            os.close(self.tap)
            self.tap = -1

    def shall_follow(self, following: Following) -> None:
        self.following = following

    def follows(self, following: Following) -> None:
        """The interface has it for certain."""
        self.following = self.followed = following

    # -------------------------------------------------------------------------------------- its namespace

    @property
    def location(self) -> Location:
        return Location(self.spec, self.tap, self.home, self.is_under_way)

    def moves_in(self, home: Home | None) -> None:
        """Its interface is in this namespace from now on. One that is handed over was made in its first."""
        self.home = home
        if self.spec.handover and self.birthplace is None:
            self.birthplace = home

    @property
    def is_under_way(self) -> bool:
        """Its interface is handed over, and was not moved to its place yet, or was moved back."""
        return self.spec.handover and self.home == self.birthplace

    @property
    def has_programs(self) -> bool:
        """Whether its namespace is one whose programs are to be served: it is in use, and not where it was made."""
        return not self.is_vacant and not self.is_under_way

    def found_vacant(self, vacant: bool) -> None:
        self.is_vacant = vacant

    def looked_at(self, seen: Seen | None, drift: list[Drift], is_stopped: bool) -> None:
        self.seen, self.drift, self.is_stopped = seen, drift, is_stopped

    def was_mended(self, count: int) -> None:
        self.mended += count

    # ------------------------------------------------------------------------------------------- its link

    def linked(self, page_size: int) -> None:
        self.page_size = page_size

    # -------------------------------------------------------------------------------------------- telling

    @property
    def shown_state(self) -> str:
        """A daemon that is stopped serves nobody, whatever was heard of it before."""
        return STOPPED if self.is_stopped and self.state is PortState.UP else self.state.value

    @property
    def shown_reason(self) -> str:
        """Why it is not up, as far as that is known."""
        if self.shown_state == STOPPED:
            return f"its daemon was stopped by a signal; continue it: kill -CONT {self.pid}"
        return self.reason

    @property
    def saved(self) -> Saved:
        return Saved(
            self.spec,
            self.number,
            not self.is_member,
            self.pid,
            self.started,
            self.home,
            self.birthplace,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "port": self.number,
            "name": self.spec.name,
            "state": self.shown_state,
            "reason": self.shown_reason,
            "pid": self.pid or None,
            "mac": self.spec.mac,
            "addresses": list(self.spec.addresses),
            "mtu": self.following.mtu,
            "gateways": list(self.spec.gateways),
            "rate": self.spec.rate or None,
            "rate_in": self.spec.limits[1] or None,
            "ifname": self.spec.ifname,
            "netns": self.spec.netns_path,
            "netns_owned": self.spec.owns_netns,
            "owner": self.spec.to_json()["owner"],
            "routes": list(self.spec.routes),
            "aliases": list(self.spec.aliases),
            "netns_inode": self.home.inode if self.home is not None else None,
            "handover": ("waiting" if self.is_under_way else "done") if self.spec.handover else None,
            "page_size": self.page_size or None,
            "generation": self.generation,
            "restarts": self.restarts,
            "actual": self.seen.to_json() if self.seen is not None else None,
            "drift": [each.to_json() for each in self.drift],
            "mended": self.mended,
        }


class Ports:
    """All partitions by name and by port number."""

    def __init__(self, fabric: str, seed: str = "") -> None:
        self.fabric = fabric
        self.seed = seed
        """Of the MACs (mac_seed.py)."""
        self.by_name: dict[str, Port] = {}
        self.by_number: dict[int, Port] = {}

    def __iter__(self) -> Iterator[Port]:
        return iter(sorted(self.by_number.values(), key=lambda port: port.number))

    def get(self, name: object) -> Port:
        port = self.by_name.get(name) if isinstance(name, str) else None
        if port is None:
            raise NotFound(f"there is no partition {name}", "list them with: vnicctl partition list")
        return port

    def reserve(self, spec: PartitionSpec) -> Port:
        """A new port for a checked spec, with its MAC; Exists, Taken or Resources when it can't be."""
        self.check_new(spec)
        mac = spec.mac or self.default_mac(spec.name)
        for other in self.by_number.values():
            if other.spec.mac == mac:
                raise Taken(f"the MAC address {mac} belongs to partition {other.spec.name}")
        self.check_addresses(spec)
        number = next((n for n in range(1, directory.MAX_PORTS) if n not in self.by_number), None)
        if number is None:
            raise Resources(f"all {directory.MAX_PORTS - 1} ports are in use")
        return self.insert(Port(replace(spec, mac=mac), number))

    def default_mac(self, name: str) -> str:
        """The MAC of a partition, or of port 0, that is given none."""
        return default_mac(self.fabric, name, self.seed)

    def check_new(self, spec: PartitionSpec) -> None:
        """Exists when there is a partition of this name."""
        if spec.name in self.by_name:
            raise Exists(f"the partition {spec.name} exists already")

    def insert(self, port: Port) -> Port:
        self.by_name[port.spec.name] = port
        self.by_number[port.number] = port
        return port

    def discard(self, port: Port) -> None:
        """Free a port's name and number; no error when that was done before, and they may belong to another."""
        if self.by_name.get(port.spec.name) is port:
            del self.by_name[port.spec.name]
        if self.by_number.get(port.number) is port:
            del self.by_number[port.number]

    def check_addresses(self, spec: PartitionSpec) -> None:
        """Taken when another partition has one of these addresses."""
        wanted = {ipaddress.ip_interface(text).ip: text for text in spec.addresses}
        for other in self.by_number.values():
            for text in other.spec.addresses if other.spec.name != spec.name else ():
                if (ip := ipaddress.ip_interface(text).ip) in wanted:
                    raise Taken(f"the address {wanted[ip]} belongs to partition {other.spec.name}")
