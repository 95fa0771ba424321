"""Why a partition daemon has ended, as whoever asked for it is told."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from vnicd.host.partitions import last_words
from vnicd.host.partitions.last_words import HOPELESS_AFTER, LONGEST, Deaths
from vnicd.host.partitions.systemd_units import how_ended, is_ended_for_good
from vnicd.protocol import log_line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("\n \n", ""),
        ("Traceback:\n  File\nModuleNotFoundError: no x\n\n", "ModuleNotFoundError: no x"),
        (log_line.file_lines(0, 40, "no hosting daemon takes it in") + "\n", "no hosting daemon takes it in"),
        ("\x1b[31mred\x07", "?[31mred?"),
        ("x" * 2000, "x" * LONGEST),
    ],
)
def test_the_last_line(text: str, said: str) -> None:
    assert last_words.in_text(text) == said


def test_only_what_was_said_since_the_start_counts(tmp_path: Path) -> None:
    path = tmp_path / "blue.log"
    assert last_words.in_file(path, 0) == ""
    path.write_text("an older fault\n")
    since = path.stat().st_size
    assert last_words.in_file(path, since) == ""
    with path.open("ab") as log:
        log.write(b"\xff" * 100_000 + b"\nthe fault\n")
    assert last_words.in_file(path, since) == "the fault"
    path.write_text("it was emptied\n")
    assert last_words.in_file(path, since + 9) == "it was emptied"


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-signal.SIGSEGV, "killed by SIGSEGV"),
        (-99, "killed by signal 99"),
    ],
)
def test_how_it_has_ended(exit_code: int, words: str) -> None:
    assert last_words.how(exit_code) == words


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ""),
        ({"ExecMainCode": "1", "ExecMainStatus": "0"}, ""),
        ({"ExecMainCode": "1", "ExecMainStatus": "203"}, "exit status 203"),
        ({"ExecMainCode": "2", "ExecMainStatus": "9"}, "killed by SIGKILL"),
        ({"ExecMainCode": "3", "ExecMainStatus": "11"}, "killed by SIGSEGV"),
    ],
)
def test_how_a_unit_has_ended(facts: dict[str, str], words: str) -> None:
    assert how_ended(facts) == words


@pytest.mark.parametrize(
    ("states", "jobs", "is_for_good"),
    [
        ("disabled\ndisabled\n", "12 vnicd.service stop running\n", True),
        ("disabled\nmasked\n", "", True),
        ("disabled\nenabled\n", "12 vnicd.service stop running\n", False),
        ("enabled\ndisabled\n", "", False),
        ("disabled\ndisabled\n", "9 other.service start waiting\n12 vnicd.service restart running\n", False),
        ("", "", False),
    ],
)
def test_whether_a_service_ends_for_good(states: str, jobs: str, is_for_good: bool) -> None:
    assert is_ended_for_good(states, jobs) is is_for_good


def test_deaths_are_too_many_at_some_time() -> None:
    deaths = Deaths()
    deaths.add("exit status 1: no memory")
    for _ in range(HOPELESS_AFTER - 1):
        assert not deaths.are_too_many.is_set()
        deaths.add("")
    assert deaths.are_too_many.is_set()
    assert deaths.words == "exit status 1: no memory"
