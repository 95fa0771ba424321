"""The benchmark's arithmetic: medians, ratios, bars, and the search for the highest clean rate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.figures import Bar, Metric, Results, Row, number
from tests.bench.loads.clean_rate import highest_clean_rate
from tests.bench.loads.parsing import Datagrams

SPEED = Metric("speed", "Speed", "Gbit/s", True)
DELAY = Metric("delay", "Delay", "us", False)


def test_the_ratio_is_of_the_medians() -> None:
    row = Row(SPEED, {"ours": [30, 10, 20], "theirs": [40, 400, 4]})
    assert row.medians() == {"ours": 20, "theirs": 40}
    assert row.ratio() == 0.5


def test_further_environments_do_not_change_the_ratio() -> None:
    assert Row(SPEED, {"ours": [1], "theirs": [2], "others": [9]}).ratio() == 0.5


@pytest.mark.parametrize(
    "samples", [{"ours": [], "theirs": [1]}, {"ours": [1], "theirs": []}, {"ours": [1]}, {}]
)
def test_no_ratio_without_both(samples: dict[str, list[float]]) -> None:
    assert Row(SPEED, samples).ratio() is None


def test_no_ratio_to_nothing() -> None:
    assert Row(SPEED, {"ours": [1], "theirs": [0]}).ratio() is None


def test_the_spread_is_that_of_the_most_uneven_environment() -> None:
    assert Row(SPEED, {"ours": [10, 10, 10], "theirs": [90, 100, 120]}).spread() == pytest.approx(0.3)
    assert Row(SPEED, {"ours": []}).spread() is None


@pytest.mark.parametrize(
    ("metric", "value", "verdict"),
    [
        (SPEED, 0.59, "missed"),
        (SPEED, 0.6, "met"),
        (SPEED, 0.8, "aim met"),
        (DELAY, 0.9, "missed"),
        (DELAY, 0.6, "met"),
        (DELAY, 0.5, "aim met"),
    ],
)
def test_bars_know_which_way_is_better(metric: Metric, value: float, verdict: str) -> None:
    bar = Bar(0.6, 0.75) if metric is SPEED else Bar(0.75, 0.5)
    assert Row(metric, {"ours": [value], "theirs": [1]}, bar).verdict() == verdict


@pytest.mark.parametrize(("value", "verdict"), [(130, "missed"), (100, "met"), (20, "aim met")])
def test_an_absolute_bar_is_for_the_figure_whatever_the_reference_has(value: float, verdict: str) -> None:
    row = Row(DELAY, {"ours": [value], "theirs": [1]}, Bar(100, 20, absolute=True))
    assert (row.judged(), row.verdict()) == (value, verdict)


def test_an_absolute_bar_without_a_figure_is_missed() -> None:
    assert Row(DELAY, {"ours": [], "theirs": [1]}, Bar(100, absolute=True)).verdict() == "missed"


def test_one_environment_is_judged_by_its_own_figure() -> None:
    assert Row(DELAY, {"vnicd": [0.2, 0.25, 0.9]}, Bar(0.3)).verdict() == "met"


def test_a_bar_without_a_figure_is_missed() -> None:
    assert Row(SPEED, {"ours": [], "theirs": []}, Bar(0.6)).verdict() == "missed"


def test_a_metric_without_a_bar_has_no_verdict() -> None:
    assert Row(SPEED, {"ours": [1], "theirs": [1]}).verdict() == ""


def test_results_as_json_have_every_sample() -> None:
    results = Results("both", ["ours", "theirs"])
    results.expect([SPEED, DELAY], {"speed": Bar(0.6), "delay": Bar(1.0)})
    results.add("ours", {"speed": 1.0, "delay": 3.0})
    results.add("ours", {"speed": 3.0, "delay": 3.0})
    results.add("theirs", {"speed": 2.0, "delay": 2.0})
    rows = results.to_json()["rows"]
    assert rows["speed"]["samples"] == {"ours": [1.0, 3.0], "theirs": [2.0]}
    assert rows["speed"]["ratio"] == 1.0
    assert rows["speed"]["verdict"] == "met"
    assert results.missed() == ["Delay"]


def test_numbers_show_three_digits() -> None:
    assert [number(value) for value in (1234.5, 99.44, 7.123, 0.0561, 0, None)] == [
        "1234",
        "99.4",
        "7.12",
        "0.056",
        "0.000",
        "-",
    ]


Trial = Callable[[float | None], Datagrams]


def wire(capacity: float, sender_limit: float) -> tuple[list[float | None], Trial]:
    """A trial that loses all beyond `capacity`, and the rates it was asked for."""
    asked: list[float | None] = []

    def trial(rate: float | None) -> Datagrams:
        asked.append(rate)
        sent = sender_limit if rate is None else min(rate, sender_limit)
        received = min(sent, capacity)
        return Datagrams(sent, received, 1 - received / sent)

    return asked, trial


@given(capacity=st.floats(1e3, 1e6), surplus=st.floats(1.01, 5))
def test_the_search_comes_close_from_below(capacity: float, surplus: float) -> None:
    _, trial = wire(capacity, capacity * surplus)
    found = highest_clean_rate(trial, 8)
    step = capacity * surplus / 2**8
    assert capacity - step <= found <= capacity * 1.002


def test_one_trial_is_enough_when_the_sender_is_the_limit() -> None:
    asked, trial = wire(5000, 1000)
    assert highest_clean_rate(trial, 8) == 1000
    assert asked == [None]


def test_a_single_bad_trial_does_not_decide() -> None:
    stalls = iter([False, True])

    def trial(rate: float | None) -> Datagrams:
        if rate is None:
            return Datagrams(2000, 1000, 0.5)
        lost = 0.5 if next(stalls, False) is True else 0.0 if rate <= 1000 else 0.5
        return Datagrams(rate, rate * (1 - lost), lost)

    assert highest_clean_rate(trial, 6) > 980


def test_nothing_is_clean_on_a_wire_that_always_loses() -> None:
    assert highest_clean_rate(lambda rate: Datagrams(100, 50, 0.5), 4) == 0
