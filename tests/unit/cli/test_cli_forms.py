"""What commands print when asked for a template, for names, or again and again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.framework.control.fakehost import ANSWERS, FakeHost
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main
from vnicd.cli.printing import watch
from vnicd.errors import NotRunning
from vnicd.protocol import control

pytestmark = pytest.mark.usefixtures("host")

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (["status", "--format", "{name}"], ["host", "blue", "green", "red"]),
        (["partition", "ls", "--format", "{name} {state}"], ["blue up", "green starting", "red failed"]),
        (["ls", "-q"], ["blue", "green", "red"]),
        (["partition", "show", "blue", "--format", "{mac}"], ["02:00:00:00:00:01"]),
        (["links", "--format", "{from}-{to} {path} {drops}"], [
            "host-blue direct -", "blue-host direct -", "blue-green direct ring_full 3", "green-blue direct -",
            "blue-red relay -", "red-blue relay -",
        ]),
        (["stats", "--format", "{name} {counters.sleeps}"], ["blue 12"]),
        (["uplink", "show", "--format", "{nic} {offloads.tso4}"], ["eth1 true"]),
        (["debug", "link", "blue", "green", "--format", "{from} {unread}"], ["blue 4032", "green 0"]),
    ],
)  # fmt: skip
def test_a_line_for_each_row(capsys: Captured, argv: list[str], lines: list[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_an_unknown_field_is_usage(error_line: ErrorLine) -> None:
    assert main(["status", "--format", "{name} {nam}"]) == 2
    assert error_line().startswith("--format: there is no field nam; there are: port, name, state, pid")


def test_format_json_is_json(capsys: Captured) -> None:
    assert main(["stats", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == ANSWERS["stats"]


def test_no_uplink_has_no_line(host: FakeHost, capsys: Captured) -> None:
    host.answers["uplink.show"] = {"uplink": None}
    assert main(["uplink", "show", "--format", "{nic}"]) == 0
    assert capsys.readouterr().out == ""


def rounds(count: int) -> Callable[[float], None]:
    """Ends the watching after so many rounds, as Ctrl-C does."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == count:
            raise KeyboardInterrupt

    return sleep


@pytest.mark.parametrize("words", [["--watch"], ["--watch", "7.5"], ["--watch=2"]])
def test_a_pipe_gets_it_again_and_again(
    host: FakeHost, capsys: Captured, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """A NAME behind --watch is none of its numbers; a hosting daemon that is away for a while is told of."""
    answers: list[Any] = [ANSWERS["stats"], control.failure(1, NotRunning("it is away")), ANSWERS["stats"]]
    host.answers["stats"] = lambda _: answers.pop(0)
    monkeypatch.setattr(watch.time, "sleep", rounds(3))
    assert main(["stats", *words, "blue", "--format", "{name}"]) == 0
    assert capsys.readouterr() == ("blue\nblue\n", "vnicctl: it is away\n")
    assert [params for method, params in host.requests if method == "stats"] == [{"name": "blue"}] * 3


def test_watching_ends_at_once_with_a_first_error(host: FakeHost, capsys: Captured) -> None:
    host.answers["status"] = NotRunning("it is away")
    assert main(["status", "--watch"]) == 3


def test_only_what_a_terminal_has_room_for_is_redrawn() -> None:
    lines = ["\x1b[1mab\x1b[0m", "x" * 21, "y", "z"]
    assert watch.fitting(lines, 10, 5) == lines[:3]
    assert watch.fitting(lines, 80, 9) == lines
