"""What becomes of a partition daemon that says hello: decided from what is known of it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    TURN_AWAY = "it is told to stop: it is not the daemon of the partition that it names"
    WELCOME = "it is new, and is handed TAP, counters and directory"
    WELCOME_BACK = "it has outlived the last hosting daemon, and goes on with its TAP and its counters"
    MAKE_INTERFACE = "it is new, and waits until the interface that it is to serve is made"
    LOST_INTERFACE = "it is ended, as the interface of its TAP was deleted; its restart makes that anew"
    REPLACE = "it is ended, as we can't work with what it brings; its restart makes it one of ours"


@dataclass(frozen=True)
class Facts:
    """What is known of a daemon that says hello."""

    serves: bool
    """It is the process that serves the partition that it names, and that partition is not being removed."""
    returns: bool = False
    """It brings back the TAP and the counters that the last hosting daemon has handed it."""
    has_interface: bool = False
    """There is an interface behind the TAP: the one that it brings, or else the one that we have for it."""
    objection: str = ""
    """Why we can't work with what it brings."""


def decide(facts: Facts) -> Outcome:
    if not facts.serves:
        return Outcome.TURN_AWAY
    if not facts.returns:
        return Outcome.WELCOME if facts.has_interface else Outcome.MAKE_INTERFACE
    if not facts.has_interface:
        return Outcome.LOST_INTERFACE
    return Outcome.REPLACE if facts.objection else Outcome.WELCOME_BACK
