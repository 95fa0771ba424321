"""What becomes of a partition daemon that says hello."""

from __future__ import annotations

from itertools import product

import pytest

from vnicd.host.partitions.admission import Facts, Outcome, decide

CASES = (
    # serves, returns, has_interface, objection
    (True, False, True, "", Outcome.WELCOME),
    (True, False, False, "", Outcome.MAKE_INTERFACE),
    (True, True, True, "", Outcome.WELCOME_BACK),
    (True, True, True, "it is foreign", Outcome.REPLACE),
    (True, True, False, "", Outcome.LOST_INTERFACE),
    (True, True, False, "it is foreign", Outcome.LOST_INTERFACE),
    (True, False, True, "it is foreign", Outcome.WELCOME),
    (True, False, False, "it is foreign", Outcome.MAKE_INTERFACE),
)
"""Of the daemon of a partition; who is none is turned away whatever else is so."""


@pytest.mark.parametrize(("serves", "returns", "has_interface", "objection", "outcome"), CASES)
def test_the_daemon_of_a_partition(
    serves: bool, returns: bool, has_interface: bool, objection: str, outcome: Outcome
) -> None:
    assert decide(Facts(serves, returns, has_interface, objection)) is outcome


def test_the_cases_are_all_there_are() -> None:
    assert {case[:4] for case in CASES} == set(
        product((True,), (True, False), (True, False), ("", "it is foreign"))
    )
    assert {case[4] for case in CASES} == set(Outcome) - {Outcome.TURN_AWAY}


@pytest.mark.parametrize("known", list(product((True, False), (True, False), ("", "it is foreign"))))
def test_a_stranger_is_turned_away_whatever_it_brings(known: tuple[bool, bool, str]) -> None:
    assert decide(Facts(False, *known)) is Outcome.TURN_AWAY
