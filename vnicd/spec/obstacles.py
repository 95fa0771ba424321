"""Obstacles: what would make changes of a fabric fail, found before the first of them is made; pure.

What the machine is like was looked at before (vnicd/host/survey.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vnicd.errors import Invalid, NoHugepages, NotFound, Resources, Taken, VnicdError
from vnicd.spec.addresses import (
    address_conflicts,
    host,
    mac_conflicts,
    network_conflicts,
    subnet_conflicts,
    within,
)
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.plan import Change
from vnicd.spec.pool import Pool
from vnicd.spec.uplink import UplinkSpec

Obstacle = tuple[Change, VnicdError]

MAX_PARTITIONS = 255
PAGES_EACH = 2
"""Hugepages that a new partition takes at once where they are required: its end, and ours, of its link to port 0."""


@dataclass(frozen=True)
class Nic:
    """The NIC of the uplink that will be, as it is at the moment."""

    name: str
    mac: str
    mtu: int
    addresses: tuple[str, ...] = ()
    """The machine's own, with prefix lengths."""
    obstacle: VnicdError | None = None
    """Why it can be no uplink of this fabric."""


@dataclass(frozen=True)
class Machine:
    """What the changes meet on the machine."""

    nic: Nic | None = None
    """None while it is absent, or no uplink is to be."""
    gateway_mac: str = ""
    """That of port 0 if it has one of its own."""
    networks: Sequence[tuple[str, str]] = ()
    """Interfaces and addresses of the machine, where port 0 has networks of its own and no NIC."""
    hugepages: int | None = None
    """How many can be had; None where it does not matter."""
    elsewhere: Mapping[str, VnicdError] = field(default_factory=dict)
    """Addresses, without prefix lengths, that the machine has itself or reaches by another interface."""
    places: Mapping[str, VnicdError] = field(default_factory=dict)
    """Why new partitions, by their names, can't have their namespace or their interface in it."""
    uplink: VnicdError | None = None
    """What else stands in the way of the uplink."""


@dataclass(frozen=True)
class Aim:
    """The fabric that the changes lead to. Each partition has its MAC."""

    partitions: Mapping[str, PartitionSpec]
    uplink: UplinkSpec | None
    bare: frozenset[str] = frozenset()
    """Partitions that stay without addresses, also where the network has subnets."""
    pool: Pool = field(default_factory=Pool)
    """What the others are given addresses of."""
    leaving: int = 0
    """Ports of partitions that somebody else is removing just now, and so are in use yet."""

    def routed(self) -> list[str]:
        """The addresses, without prefix lengths, that the machine needs a route to."""
        networks = [each.network for each in self.uplink.own_addresses] if self.uplink is not None else []
        texts = [host(text) for spec in self.partitions.values() for text in spec.addresses]
        routed = [text for text in texts if not any(within(text, network) for network in networks)]
        return routed if self.uplink is not None else []


def obstacles(
    changes: list[Change], aim: Aim, machine: Machine, may_be_absent: bool = False
) -> list[Obstacle]:
    """All that stands in the way of these changes, in their order.

    With `may_be_absent` the uplink's NIC may come later. What is not right already, with a partition and an uplink
    that stay as they are, is nobody's change.
    """
    found: list[Obstacle] = []
    claims = _Claims(aim, {each.name for each in changes if each.partition is not None})
    more = 0
    for change in changes:
        errors: list[VnicdError] = []
        spec = aim.partitions.get(change.name) if change.partition is not None else None
        if change.kind == "uplink" and aim.uplink is not None:
            errors += _of_uplink(aim, aim.uplink, machine, may_be_absent, claims.staying)
        elif spec is not None:
            is_new = change.op != "change"
            more += is_new
            errors += _of_spec(spec, aim, machine)
            errors += claims.take(spec)
            errors += _of_place(spec.name, machine, more) if is_new else ()
        found += [(change, error) for error in errors]
    return found + _of_ports(changes, aim)


def _of_uplink(
    aim: Aim, uplink: UplinkSpec, machine: Machine, may_be_absent: bool, staying: list[PartitionSpec]
) -> Iterator[VnicdError]:
    """Of the uplink itself, and with partitions that are there already."""
    nic = machine.nic
    yield from network_conflicts(uplink, machine.networks)
    if nic is None and uplink.nic and not may_be_absent:
        yield NotFound(f"there is no interface {uplink.nic}", "list them with: ip link")
    if nic is not None and nic.obstacle is not None:
        yield nic.obstacle
    elif nic is not None:
        yield from subnet_conflicts(uplink, nic.addresses)
    if machine.uplink is not None:
        yield machine.uplink
    for spec in staying:
        yield from _with_machine(spec, aim, machine)


def _of_spec(spec: PartitionSpec, aim: Aim, machine: Machine) -> Iterator[VnicdError]:
    uplink, nic = aim.uplink, machine.nic
    try:
        PartitionSpec.from_json(spec.to_json())  # it was filled in: IPv6 addresses may not suit a small MTU
        if not spec.addresses and spec.name not in aim.bare:
            aim.pool.free(text for each in aim.partitions.values() for text in each.addresses)
    except Invalid as error:
        yield error
    if uplink is not None and nic is not None and (too_large := mtu_obstacle(spec, nic.name, nic.mtu)):
        yield too_large
    yield from _with_machine(spec, aim, machine)


def mtu_obstacle(spec: PartitionSpec, nic: str, mtu: int) -> Invalid | None:
    """That a partition is to have a larger MTU than the uplink's NIC."""
    if spec.mtu <= mtu:
        return None
    hint = f"give it at most {mtu}, or make that of {nic} larger"
    return Invalid(f"the MTU {spec.mtu} is larger than the uplink's", hint)


def _with_machine(spec: PartitionSpec, aim: Aim, machine: Machine) -> Iterator[VnicdError]:
    """A partition that has what the machine has."""
    uplink, nic = aim.uplink, machine.nic
    if uplink is None:
        return
    hosts = [host(text) for text in spec.addresses]
    mac = machine.gateway_mac if not uplink.is_like_nic else nic.mac if nic is not None else ""
    own = nic.addresses if nic is not None else ()
    yield from mac_conflicts(mac, [spec.mac])
    yield from address_conflicts(uplink, own, hosts)
    here = {host(text) for text in (*own, *uplink.subnets)}
    for text in hosts:
        if text in machine.elsewhere and text not in here:  # what is here is told already
            yield machine.elsewhere[text]


def _of_place(name: str, machine: Machine, count: int) -> Iterator[VnicdError]:
    """Of a new partition, the one of this number."""
    if name in machine.places:
        yield machine.places[name]
    if machine.hugepages is not None and count * PAGES_EACH > machine.hugepages:
        text = f"{count * PAGES_EACH} hugepages of 2 MiB are needed, and {machine.hugepages} can be had"
        yield NoHugepages(text, "see vnicctl doctor, or start vnicd with: --hugepages auto")


def _of_ports(changes: list[Change], aim: Aim) -> list[Obstacle]:
    added = [change for change in changes if change.kind == "partition" and change.op == "add"]
    excess = len(aim.partitions) + aim.leaving - MAX_PARTITIONS
    late = added[-excess:] if excess > 0 else []
    return [(change, Resources(f"all {MAX_PARTITIONS} ports are in use")) for change in late]


class _Claims:
    """Who has an address or a MAC; those that stay as they are were first."""

    def __init__(self, aim: Aim, changing: set[str]) -> None:
        self.staying = [spec for spec in aim.partitions.values() if spec.name not in changing]
        self.owners: dict[str, str] = {}
        for spec in self.staying:
            self.owners |= dict.fromkeys(_claimed(spec), spec.name)

    def take(self, spec: PartitionSpec) -> Iterator[VnicdError]:
        for what, name in _claimed(spec).items():
            owner = self.owners.setdefault(what, spec.name)
            if owner != spec.name:
                yield Taken(f"{name} belongs to partition {owner}")


def _claimed(spec: PartitionSpec) -> dict[str, str]:
    """What a partition alone can have, and what that is called."""
    addresses = {host(text): f"the address {text}" for text in spec.addresses}
    return {**addresses, spec.mac: f"the MAC address {spec.mac}"}
