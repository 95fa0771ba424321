"""The ports of a fabric: what the hosting daemon knows of each partition, and the rules between them."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vnicd.errors import Exists, NotFound, Resources, Taken
from vnicd.host.ports.state_file import Saved
from vnicd.native import counters, directory
from vnicd.native.memory import Region
from vnicd.spec.partition import MTU_DEFAULT, PartitionSpec, default_mac

if TYPE_CHECKING:
    from vnicd.host.ports.allowance import Allowance
    from vnicd.host.ports.channel import Channel


@dataclass(frozen=True)
class Following:
    """What a partition's interface takes over from the uplink: its MTU (unless it has one of its own), whether it
    is connected, and whether it makes itself addresses when a router advertises some."""

    mtu: int = MTU_DEFAULT
    carrier: bool = True
    autoconf: bool = True


@dataclass
class Port:
    """One partition at run time."""

    spec: PartitionSpec
    number: int
    adding: bool = True
    removing: bool = False
    state: str = "starting"
    reason: str = ""
    """Why the state is "failed"."""
    pid: int = 0
    started: int = 0
    pidfd: int = -1
    tap: int = -1
    counters: Region = field(default_factory=counters.create)
    channel: Channel | None = None
    allowance: Allowance | None = None
    """Of its daemons, from the first that has connected."""
    generation: int = 0
    restarts: int = 0
    page_size: int = 0
    following: Following = Following()
    """What its interface is to have."""
    followed: Following | None = None
    """What it has for certain; None when another hosting daemon has made it."""
    up: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever makes or unmakes something of it."""

    @property
    def saved(self) -> Saved:
        return Saved(self.spec, self.number, self.adding or self.removing, self.pid, self.started)

    def close_tap(self) -> None:
        if self.tap >= 0:
            os.close(self.tap)
            self.tap = -1

    def to_json(self) -> dict[str, Any]:
        return {
            "port": self.number,
            "name": self.spec.name,
            "state": self.state,
            "reason": self.reason,
            "pid": self.pid or None,
            "mac": self.spec.mac,
            "addresses": list(self.spec.addresses),
            "mtu": self.following.mtu,
            "gateways": list(self.spec.gateways),
            "rate": self.spec.rate or None,
            "ifname": self.spec.ifname,
            "netns": self.spec.netns_path,
            "netns_owned": self.spec.owns_netns,
            "page_size": self.page_size or None,
            "generation": self.generation,
            "restarts": self.restarts,
        }


class Ports:
    """All partitions by name and by port number."""

    def __init__(self, fabric: str) -> None:
        self.fabric = fabric
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
        if spec.name in self.by_name:
            raise Exists(f"the partition {spec.name} exists already")
        mac = spec.mac or default_mac(self.fabric, spec.name)
        for other in self.by_number.values():
            if other.spec.mac == mac:
                raise Taken(f"the MAC address {mac} belongs to partition {other.spec.name}")
        self.check_addresses(spec)
        number = next((n for n in range(1, directory.MAX_PORTS) if n not in self.by_number), None)
        if number is None:
            raise Resources(f"all {directory.MAX_PORTS - 1} ports are in use")
        return self.insert(Port(replace(spec, mac=mac), number))

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
