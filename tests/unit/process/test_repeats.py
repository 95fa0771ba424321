"""What is said again and again: once in full, then counted, and never more than a bounded number is remembered."""

from __future__ import annotations

import random

import pytest

from vnicd.process.repeats import FIRST_WINDOW_S, LAST_WINDOW_S, MOST_REMEMBERED, Repeats


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_said_and_the_rest_is_counted() -> None:
    clock = Clock()
    repeats = Repeats[str](clock)
    assert [repeats.is_new("full") for _ in range(13)] == [True, *[False] * 12]
    assert list(repeats.counted()) == []
    clock.now += FIRST_WINDOW_S
    assert list(repeats.counted()) == [("full", "(12 more times in the last 60 s)")]


def test_what_goes_on_is_told_of_ever_more_rarely() -> None:
    clock, windows = Clock(), []
    repeats = Repeats[str](clock)
    begin, told = clock.now, 0
    for _ in range(4 * 3600):
        repeats.is_new("full")
        clock.now += 1
        for _, words in repeats.counted():
            windows.append(clock.now - begin)
            told += int(words.strip("(").split()[0])
            begin = clock.now
    assert windows[:3] == [FIRST_WINDOW_S, 2 * FIRST_WINDOW_S, 4 * FIRST_WINDOW_S]
    assert max(windows) <= LAST_WINDOW_S
    assert told == sum(windows) - 1  # all but the one that was said


def test_what_has_not_come_again_is_new_the_next_time() -> None:
    clock = Clock()
    repeats = Repeats[str](clock)
    assert repeats.is_new("full")
    clock.now += FIRST_WINDOW_S
    assert list(repeats.counted()) == []
    assert repeats.is_new("full")


def test_at_the_end_all_is_told() -> None:
    clock = Clock()
    repeats = Repeats[str](clock)
    for key in "abb":
        repeats.is_new(key)
    clock.now += 10
    assert list(repeats.counted(everything=True)) == [("b", "(once more in the last 10 s)")]
    assert repeats.is_new("b")


@pytest.mark.parametrize("seed", range(5))
def test_memory_is_bounded_and_each_message_is_said_or_counted(seed: int) -> None:
    keys = random.Random(seed).choices(range(2 * MOST_REMEMBERED), k=3 * MOST_REMEMBERED)
    repeats = Repeats[int](Clock())
    said = counted = 0
    for key in keys:
        said += repeats.is_new(key)
        counted += sum(_number(words) for _, words in repeats.counted())
        assert len(repeats.said) <= MOST_REMEMBERED
    counted += sum(_number(words) for _, words in repeats.counted(everything=True))
    assert said + counted == len(keys)


def _number(words: str) -> int:
    return 1 if words.startswith("(once") else int(words[1:].split(maxsplit=1)[0])
