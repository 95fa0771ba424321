"""The order that traffic beside a fault is held to."""

from __future__ import annotations

from tests.framework.traffic.load import misplaced

STEP = 0.01


def sent(count: int) -> list[float]:
    return [number * STEP for number in range(count)]


def test_in_order_is_right() -> None:
    assert misplaced([0, 1, 3], [0.0, 0.01, 0.03], sent(4)) == 0


def test_twice_is_wrong() -> None:
    assert misplaced([0, 1, 1, 2], [0.0, 0.01, 0.02, 0.03], sent(3)) == 1


def test_overtaken_is_wrong() -> None:
    assert misplaced([0, 2, 1, 3], [0.0, 0.02, 0.021, 0.03], sent(4)) == 1


def test_who_waited_through_a_silence_may_be_overtaken() -> None:
    numbers = [0, 40, 7, 8, 41]
    times = [0.0, 0.4, 0.401, 0.402, 0.41]
    assert misplaced(numbers, times, sent(42)) == 0
    assert misplaced([*numbers, 7], [*times, 0.42], sent(42)) == 1, "but it may not come twice"


def test_a_silence_excuses_nothing_that_was_sent_outside_of_it() -> None:
    numbers = [0, 30, 7, 33, 32]
    times = [0.0, 0.3, 0.301, 0.33, 0.331]
    assert misplaced(numbers, times, sent(34)) == 1
