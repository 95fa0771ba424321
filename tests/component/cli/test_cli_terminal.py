"""vnicctl on a terminal: colours, notes, and a narrow one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import Any

from tests.framework.control.fakehost import FakeHost

VNICCTL = [sys.executable, "-m", "vnicd.cli.main"]


def on_terminal(argv: list[str], width: int = 200) -> str:
    """What a command writes to a terminal."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(width)}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(argv, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    text = b""
    with open(parent, "rb", buffering=0) as reader:
        # A terminal whose other end is closed gives an error and not an end.
        while chunk := _read(reader):
            text += chunk
    assert process.wait() == 0
    return text.decode().replace("\r\n", "\n")


def _read(reader: Any) -> bytes:
    try:
        return bytes(reader.read(4096))
    except OSError:
        return b""


def test_a_terminal_gets_colour_and_notes(host: FakeHost) -> None:
    assert "\x1b[32mup" in on_terminal([*VNICCTL, "status"])
    assert "1 pair without link and traffic hidden" in on_terminal([*VNICCTL, "links"])


def test_a_narrow_terminal_loses_nothing(host: FakeHost) -> None:
    text = on_terminal([*VNICCTL, "partition", "ls"], width=40)
    assert "02:00:00:00:00:01" in text
    assert "fd00:77::1/64" in text.replace("\n", "").replace(" ", "")


def test_a_long_name_takes_no_column_away(host: FakeHost) -> None:
    """A table that is wider than the terminal is left to the terminal to wrap."""
    stats = host.answers["stats"]
    assert isinstance(stats, dict)
    stats["ports"][0]["name"] = "web-frontend-eu-west"
    text = on_terminal([*VNICCTL, "stats"], width=80)
    assert "web-frontend-eu-west" in text
    assert "DROPS" in text and "ring_full" in text
