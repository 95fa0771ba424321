"""vnicctl on a terminal: colours, notes, and a narrow one."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost, partition

VNICCTL = [sys.executable, "-m", "vnicd.cli.main"]


def on_terminal(argv: list[str], width: int = 200, running: list[int] | None = None, **variables: str) -> str:
    """What a command writes to a terminal; it exits with 0. Its pid is put into `running`."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(width)}
    for variable in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        environment.pop(variable, None)
    environment |= variables
    process = subprocess.Popen(argv, stdin=child, stdout=child, stderr=child, env=environment)
    if running is not None:
        running.append(process.pid)
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
    assert "the uplink has dropped 3 frames in all: see vnicctl stats host" in on_terminal(
        [*VNICCTL, "stats", "blue"]
    )


def test_a_narrow_terminal_loses_nothing(host: FakeHost) -> None:
    text = on_terminal([*VNICCTL, "partition", "ls"], width=40)
    assert "02:00:00:00:00:01" in text
    assert "fd00:77::1/64" in text.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("words", [["status"], ["apply"]])
@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"CLICOLOR": "0"}, False), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_without_colours_gets_none(
    host: FakeHost, tmp_path: Path, words: list[str], variables: dict[str, str], coloured: bool
) -> None:
    file = tmp_path / "lab.toml"
    file.write_text("[partitions.web]")
    change = {
        "op": "add",
        "kind": "partition",
        "name": "web",
        "fields": {},
        "done": True,
        "error": None,
        "note": "",
        "obstacles": [],
    }
    host.answers["fabric.apply"] = {"changes": [change], "kept": [], "refused": False}
    text = on_terminal([*VNICCTL, *words, *([str(file)] if words == ["apply"] else [])], **variables)
    assert ("\x1b[" in text) is coloured


def test_a_pipe_has_colours_when_they_are_forced(host: FakeHost) -> None:
    environment = {**os.environ, "CLICOLOR_FORCE": "1"}
    environment.pop("NO_COLOR", None)
    done = subprocess.run([*VNICCTL, "status"], capture_output=True, text=True, env=environment)
    assert "\x1b[32mup" in done.stdout


def test_watching_redraws_and_ends_at_ctrl_c(host: FakeHost) -> None:
    """What the terminal shows at the end is the last state, with the cursor below it."""
    names = iter(["first", "second"])

    def answer(_: dict[str, Any]) -> Any:
        name = next(names, None)
        if name is None:
            os.kill(running[0], signal.SIGINT)
        return {"partitions": [partition(name or "last", 1)]}

    running: list[int] = []
    host.answers["partition.list"] = answer
    text = on_terminal([*VNICCTL, "ls", "--watch", "0.1"], running=running)
    screens = text.split("\x1b[H")
    assert [name in screen for screen, name in zip(screens[1:], ("first", "second"), strict=False)] == [
        True,
        True,
    ]
    assert text.startswith("\x1b[2J") and "Traceback" not in text


def test_a_long_name_takes_no_column_away(host: FakeHost) -> None:
    """What has no room in the row stands below it."""
    stats = host.answers["stats"]
    assert isinstance(stats, dict)
    stats["ports"][0]["name"] = "web-frontend-eu-west"
    text = on_terminal([*VNICCTL, "stats"], width=80)
    assert "web-frontend-eu-west" in text
    assert "\n      drops: ring_full 3, reserved_multicast 1\n" in text
