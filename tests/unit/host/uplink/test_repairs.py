"""What others take away of an uplink and is put back: what is told of it, and how soon it is done again."""

from __future__ import annotations

from vnicd.host.uplink.repairs import CALM_S, LONGEST_PAUSE_S, PATIENCE, Repairs

TABLE, ROUTE = "table inet vnicd_1", "route to 10.78.0.0/24"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_repair_is_told_and_counted() -> None:
    repairs = Repairs(Clock())
    assert TABLE in repairs.note([TABLE])
    assert (repairs.count, repairs.last, repairs.pause(), repairs.fought) == (1, TABLE, 0.0, "")


def test_many_things_at_once_fit_a_line() -> None:
    line = Repairs(Clock()).note([f"route to 10.0.0.{n}" for n in range(200)])
    assert "10.0.0.0, " in line
    assert line.endswith("and 196 more")


def test_different_things_are_no_fight() -> None:
    repairs = Repairs(Clock())
    lines = [repairs.note([f"address 10.0.0.{n}"]) for n in range(10)]
    assert all(lines)
    assert (repairs.pause(), repairs.fought) == (0.0, "")


def test_a_fight_is_told_once_and_slows_down() -> None:
    """However long it goes on; what else is taken away meanwhile is told."""
    clock = Clock()
    repairs = Repairs(clock)
    lines, pauses = [], []
    for _ in range(100):
        lines.append(repairs.note([TABLE]))
        pauses.append(repairs.pause())
        clock.now += repairs.pause()
        assert repairs.pause() == 0
    assert [bool(line) for line in lines] == [True] * (PATIENCE + 1) + [False] * (99 - PATIENCE)
    assert pauses[: PATIENCE + 2] == [0.0] * PATIENCE + [1.0, 2.0]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert (repairs.count, repairs.fought) == (100, TABLE)
    line = repairs.note([TABLE, ROUTE])
    assert ROUTE in line
    assert TABLE not in line
    assert str(99 - PATIENCE) in line


def test_it_is_forgotten_when_it_was_calm_for_long() -> None:
    clock = Clock()
    repairs = Repairs(clock)
    for _ in range(10):
        repairs.note([TABLE])
    clock.now += CALM_S
    assert (repairs.pause(), repairs.fought) == (0.0, "")
    assert TABLE in repairs.note([TABLE])
    assert repairs.count == 11
