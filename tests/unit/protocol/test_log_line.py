"""Lines of a log file: they are read as they were written."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnicd.protocol import log_line
from vnicd.protocol.log_line import LogLine


@given(
    st.floats(0, 4e9),
    st.sampled_from(sorted(log_line.LEVELS)),
    st.text().filter(lambda text: "\n" not in text),
)
def test_a_line_is_read_as_it_was_written(seconds: float, level: str, text: str) -> None:
    line = log_line.file_lines(seconds, log_line.LEVELS[level], text)
    assert log_line.parse(line) == LogLine(log_line.timestamp(seconds), level, text)


def test_each_line_of_a_message_has_its_time_and_its_level() -> None:
    lines = log_line.file_lines(0, logging.ERROR, "Traceback:\n  File\nOSError").split("\n")
    assert [log_line.parse(line)[1:] for line in lines] == [
        ("error", "Traceback:"),
        ("error", "  File"),
        ("error", "OSError"),
    ]
    assert log_line.stderr_lines(logging.WARNING, "one\ntwo") == "<4>one\n<4>two"


@pytest.mark.parametrize("line", ["", "Killed", "2026-03-09T17:04:59.120+0100 loud what", "<3>an error"])
def test_what_is_no_line_of_ours(line: str) -> None:
    assert log_line.parse(line) == LogLine("", "", line)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "debug"),
        (10, "debug"),
        (20, "info"),
        (25, "notice"),
        (29, "notice"),
        (30, "warning"),
        (99, "critical"),
    ],
)
def test_levels_have_names(number: int, name: str) -> None:
    assert log_line.level_name(number) == name
