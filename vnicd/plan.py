"""The planner: from what should be and what is to the actions that lead there; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from vnicd.model import PartitionSpec


class Step(Enum):
    """One change to the machine; `undo` names the one that takes it back."""

    MAKE_NAMESPACE = "make namespace"
    MAKE_INTERFACE = "make interface"
    START_DAEMON = "start daemon"
    STOP_DAEMON = "stop daemon"
    DELETE_INTERFACE = "delete interface"
    DELETE_NAMESPACE = "delete namespace"

    @property
    def undo(self) -> Step | None:
        return _UNDO.get(self)


_UNDO = {
    Step.MAKE_NAMESPACE: Step.DELETE_NAMESPACE,
    Step.MAKE_INTERFACE: Step.DELETE_INTERFACE,
    Step.START_DAEMON: Step.STOP_DAEMON,
}


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
