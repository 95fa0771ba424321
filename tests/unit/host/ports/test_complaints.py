"""What a hostile daemon can make the host write into its log."""

from __future__ import annotations

import logging

import pytest

from vnicd.host.ports.complaints import EVERY_S, Complaints, quoted


def test_a_text_is_short_and_in_one_line() -> None:
    for text in ("x" * 100_000, "a\nb", "\x1b[2J\r\n" * 1000, "'" * 90):
        said = quoted(text)
        assert len(said) <= 82
        assert said.isprintable()
    assert quoted("no memory") == "'no memory'"


def test_one_warning_about_a_port_in_some_seconds(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    complaints = Complaints(logging.getLogger("test"), lambda: now)
    for number in range(1000):
        complaints.warn(1, "port %d, the %dth", 1, number)
    complaints.warn(2, "another port is heard")
    now += EVERY_S
    complaints.warn(1, "port %d again", 1)
    assert [record.getMessage() for record in caplog.records] == [
        "port 1, the 0th",
        "another port is heard",
        "port 1 again (999 more such warnings before)",
    ]
