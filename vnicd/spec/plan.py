"""The planner: from what should be and what is to the actions that lead there; pure.

plan() is for the parts of one partition, changes() for a whole fabric as a file declares it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_interface
from typing import Any, Literal

from vnicd.errors import Invalid
from vnicd.spec.fabric_file import OPTION_KEYS, UPLINK_KEYS, Declared
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.pool import Pool, pool_of
from vnicd.spec.uplink import UplinkSpec


class Step(Enum):
    """One change to the machine."""

    MAKE_NAMESPACE = "make namespace"
    MAKE_INTERFACE = "make interface"
    START_DAEMON = "start daemon"
    STOP_DAEMON = "stop daemon"
    DELETE_INTERFACE = "delete interface"
    DELETE_NAMESPACE = "delete namespace"


@dataclass(frozen=True)
class Action:
    step: Step
    spec: PartitionSpec


@dataclass(frozen=True)
class Actual:
    """What there is of one partition."""

    spec: PartitionSpec
    namespace: bool = False
    interface: bool = False
    """Whether the hosting daemon has its TAP in hand, or the partition daemon has."""
    daemon: bool = False


def plan(desired: Mapping[str, PartitionSpec], actual: Mapping[str, Actual]) -> list[Action]:
    """The fewest actions, removals first, that turn `actual` into `desired`.

    A partition whose spec has changed is removed and made again. What is in order is not touched.
    """
    gone = [have for name, have in actual.items() if desired.get(name) != have.spec]
    actions = [action for have in gone for action in _removal(have)]
    for name, spec in desired.items():
        have = actual.get(name)
        if have is None or have.spec != spec:
            have = Actual(spec, namespace=not spec.owns_netns)
        actions += _creation(have)
    return actions


def _creation(have: Actual) -> Iterable[Action]:
    if not have.namespace and have.spec.owns_netns:
        yield Action(Step.MAKE_NAMESPACE, have.spec)
    if not (have.namespace and have.interface):
        yield Action(Step.MAKE_INTERFACE, have.spec)
    if not have.daemon:
        yield Action(Step.START_DAEMON, have.spec)


def _removal(have: Actual) -> Iterable[Action]:
    if have.daemon:
        yield Action(Step.STOP_DAEMON, have.spec)
    if have.interface and have.namespace:
        yield Action(Step.DELETE_INTERFACE, have.spec)
    if have.namespace and have.spec.owns_netns:
        yield Action(Step.DELETE_NAMESPACE, have.spec)


# --------------------------------------------------------------------------------------- a whole fabric

Op = Literal["add", "remove", "change", "replace"]
Kind = Literal["partition", "uplink", "option"]
Fields = dict[str, tuple[Any, Any]]

LIVE_FIELDS = ("addresses", "gateways", "rate", "rate_in", "mtu")
"""Of a partition that goes on while they change; another one can only be made anew with the others."""

FIXED_FIELDS = ("mac", "ifname", "netns")

OWNED_FIELDS = ("routes", "aliases")
"""Of a partition with an owner, which no file declares; they can change while it goes on."""


FIXED_WORDS = {
    "name": "name",
    "mac": "MAC",
    "ifname": "interface name",
    "netns": "namespace",
    "owner": "owner",
    "handover": "handover",
}
"""What of a partition that runs stays as it is, as users call it."""


def check_live(name: str, words: Iterable[str]) -> None:
    """Invalid when one of these fields of a partition can't be changed while that goes on, or does not exist."""
    for word in words:
        if word in FIXED_WORDS:
            hint = f"make it anew: vnicctl partition remove {name}, then vnicctl partition add {name} ..."
            raise Invalid(f"the {FIXED_WORDS[word]} of a partition that runs can't be changed", hint)
        if word not in LIVE_FIELDS + OWNED_FIELDS:
            raise Invalid(f"a partition has no {word[:64]}")


def altered(spec: PartitionSpec, words: Mapping[str, Any]) -> PartitionSpec:
    """A partition with these LIVE_FIELDS, as they are in JSON; what is not named stays, and None is the default."""
    check_live(spec.name, words)
    given = {**spec.to_json(), **words}
    try:
        return PartitionSpec.from_json(given)
    except Invalid as error:
        if "gateways" in words or not spec.gateways:
            raise
        PartitionSpec.from_json({**given, "gateways": []})  # or the gateways are not what is wrong
        raise Invalid(error.message, "name another with --gateway, or none with --no-gateway") from error


@dataclass(frozen=True)
class Change:
    """One difference of a fabric. `fields` are those that differ, old and new, as they are in JSON."""

    op: Op
    kind: Kind
    name: str
    fields: Fields = field(default_factory=dict)
    partition: PartitionSpec | None = None
    """What it is to be, with what the uplink gives it."""


def changes(desired: Declared, actual: Declared, taken: Iterable[str] = ()) -> list[Change]:
    """The fewest changes, in the order of removals, uplink, changes, additions, that turn `actual` into `desired`.

    A partition keeps what it has of that which `desired` leaves to the network, as long as it suits.
    `taken` are addresses of partitions that are no part of either, and stay.
    """
    wanted, have = settle(desired, actual, taken), actual.partitions
    found = [Change("remove", "partition", name) for name in have if name not in wanted]
    found += _uplink_change(desired.uplink, actual.uplink)
    for name, spec in wanted.items():
        if name in have and (fields := _partition_fields(have[name], spec)):
            op: Op = "replace" if any(each in FIXED_FIELDS for each in fields) else "change"
            found.append(Change(op, "partition", name, fields, spec))
    for name, spec in wanted.items():
        if name not in have:
            found.append(Change("add", "partition", name, _partition_fields(PartitionSpec(name), spec), spec))
    for name in OPTION_KEYS:
        old, new = (getattr(each.options, name) for each in (actual, desired))
        if old != new:
            old, new = (list(each) if isinstance(each, tuple) else each for each in (old, new))
            found.append(Change("change", "option", name, {name: (old, new)}))
    return found


def _uplink_change(desired: UplinkSpec | None, actual: UplinkSpec | None) -> Iterable[Change]:
    if desired == actual:
        return
    if desired is None:
        yield Change("remove", "uplink", (actual.nic or actual.mode) if actual else "")
        return
    old = (actual or UplinkSpec("")).to_json()
    new = desired.to_json()
    fields = {key: (old[key] if actual else None, new[key]) for key in UPLINK_KEYS if old[key] != new[key]}
    yield Change("add" if actual is None else "change", "uplink", desired.nic or desired.mode, fields)


def _partition_fields(old: PartitionSpec, new: PartitionSpec) -> Fields:
    """Those that differ; the order of addresses says nothing."""
    before, after = old.to_json(), new.to_json()
    return {
        key: (before[key], after[key])
        for key in (*LIVE_FIELDS, *FIXED_FIELDS)
        if (set(before[key]) != set(after[key]) if key == "addresses" else before[key] != after[key])
    }


def settle(desired: Declared, actual: Declared, others: Iterable[str] = ()) -> dict[str, PartitionSpec]:
    """The desired partitions with the addresses and gateways that their network gives them.

    What can't be given stays open: whoever adds the partition finds out why.
    """
    pool = pool_of(desired.uplink, actual.options)  # those of `desired` count from the next start on
    settled = dict(desired.partitions)
    if not pool.networks:
        return settled
    is_open = [
        name
        for name, spec in settled.items()
        if not spec.addresses and (name, "addresses") not in desired.empty
    ]
    taken = [*others, *(text for spec in settled.values() for text in spec.addresses)]
    for name in is_open:
        have = actual.partitions.get(name)
        kept = pool.suitable(have.addresses if have is not None else (), taken)
        settled[name] = replace(settled[name], addresses=kept)
        taken += kept
    for name in is_open:
        kept = settled[name].addresses
        try:
            given = _complete(pool, kept, pool.free(taken))
        except Invalid:
            continue
        settled[name] = replace(settled[name], addresses=given)
        taken += given
    for name, spec in settled.items():
        if not spec.gateways and (name, "gateways") not in desired.empty:
            settled[name] = replace(spec, gateways=pool.routes(spec.addresses))
    return settled


def left_empty(pool: Pool, partitions: Mapping[str, PartitionSpec]) -> frozenset[tuple[str, str]]:
    """What these partitions do not have though the network would give it to new ones (Declared.empty)."""
    if not pool.networks:
        return frozenset()
    bare = {(name, "addresses") for name, spec in partitions.items() if not spec.addresses}
    return frozenset(bare) | {
        (name, "gateways")
        for name, spec in partitions.items()
        if not spec.gateways and pool.routes(spec.addresses)
    }


def _complete(pool: Pool, kept: tuple[str, ...], free: tuple[str, ...]) -> tuple[str, ...]:
    """For each subnet the address that is kept, or else the free one."""
    networks = [ip_interface(text).network for text in kept]
    return tuple(
        kept[networks.index(network)] if network in networks else given
        for network, given in zip(pool.networks, free, strict=True)
    )
