"""A complaint: something that is wrong, what to do, and where a probe would vanish because of it; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vnicd.check.facts import Kind, Stage

Point = tuple[Kind, Stage]

SEND, LEAVE, CROSS, ANSWER, RETURN, RECEIVE = list(Stage)[:6]
ALL = frozenset((kind, stage) for kind in Kind for stage in Stage if stage is not Stage.DONE)


def at(*stages: Stage, kinds: Iterable[Kind] = Kind) -> frozenset[Point]:
    return frozenset((kind, stage) for kind in kinds for stage in stages)


@dataclass(frozen=True)
class Complaint:
    step: str
    """The step of the output that it belongs to."""
    cause: str
    remedy: str
    explains: frozenset[Point]
    always: bool = False
    """It is wrong even if every probe came through."""
    brief: str = ""
    """What the step says of it, if not the cause."""
