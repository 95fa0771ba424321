"""vnicctl debug trace with a `vnicd` that pretends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.framework.control.fakevnicd import TRACE
from tests.framework.fixtures import ErrorLine
from vnicd.cli.commands.groups import debug
from vnicd.cli.main import main

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("fabric_dir")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_records_are_aligned_and_folded(capsys: Captured) -> None:
    assert main(["debug", "trace", "blue"]) == 0
    shown = capsys.readouterr().out
    assert shown == dedent("""\
        the daemon of partition blue, which is dead
        2026-01-01
        12:00:00.000001  started    0.1.0 pid=4001
        12:00:01.000001  attached   link=00000000000000ff peer=2 held=1
        12:00:02.000001  report     made no memory no memory no memory no memory no
                                    memory link=00000000000000ff peer=2
        2026-01-02
        12:00:00.000001  host_lost
        """)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_last_lines_of_the_hosting_daemon(capsys: Captured) -> None:
    assert main(["debug", "trace", "--lines", "1"]) == 0
    lines = ["the hosting daemon, pid 4000", "2026-01-02", "12:00:00.000001  host_lost"]
    assert capsys.readouterr().out.splitlines() == lines


def test_json(capsys: Captured) -> None:
    assert main(["debug", "trace", "blue", "--lines", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**TRACE, "records": TRACE["records"][-2:]}


def test_an_unknown_partition(error_line: ErrorLine) -> None:
    assert main(["debug", "trace", "red"]) == 5
    assert error_line() == "there is no partition red; list them with: vnicctl partition list"


def test_no_lines_is_a_wrong_value(error_line: ErrorLine) -> None:
    assert main(["debug", "trace", "--lines", "0"]) == 7
    assert "--lines" in error_line()


@pytest.mark.parametrize("wall_ns", [0, (1 << 64) - 1])
def test_any_time_can_be_shown(wall_ns: int, capsys: Captured, record: Path) -> None:
    shown: dict[str, Any] = {**TRACE, "records": [{**TRACE["records"][0], "wall_ns": wall_ns}]}
    debug._show_trace(shown)
    assert "started" in capsys.readouterr().out
