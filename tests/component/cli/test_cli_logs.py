"""vnicctl logs: the file of a daemon, the one before it, its last lines, and what may be in them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.framework.fixtures import ErrorLine
from vnicd.cli.commands import logs
from vnicd.cli.main import main
from vnicd.host.ports import state_file

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(runtime: Path) -> Path:
    place = runtime / "log"
    place.mkdir()
    return place


def test_the_whole_log_with_the_one_before(folder: Path, capsys: Captured) -> None:
    (folder / "host.log.1").write_text("first\n")
    (folder / "host.log").write_text("second\nthird\n")
    assert main(["logs"]) == 0
    assert capsys.readouterr().out == "first\nsecond\nthird\n"
    assert main(["logs", "host", "-n", "2"]) == 0
    assert capsys.readouterr().out == "second\nthird\n"


def test_what_a_hostile_daemon_writes_is_text(folder: Path, capsys: Captured) -> None:
    (folder / "blue.log").write_bytes(b"\x1b[2J\tred \xff \xe2\x80\xae end\n")
    assert main(["logs", "blue"]) == 0
    assert capsys.readouterr().out == "\\x1b[2J    red \ufffd \\u202e end\n"


def test_no_fabric(runtime: Path, error_line: ErrorLine) -> None:
    assert main(["logs"]) == 3
    assert error_line() == f"there is no fabric at {runtime}; start one with: vnicctl up"


def test_no_log(folder: Path, error_line: ErrorLine) -> None:
    state_file.save(folder.parent / "state.json", [])
    assert main(["logs", "purple"]) == 5
    assert error_line().startswith("there is no log of purple; ")
    assert main(["logs", "../state"]) == 7
    error_line()


def test_following_a_log_that_is_rotated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """It ends when the file is gone for good, as that of a removed partition is."""
    monkeypatch.setattr(logs, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(logs, "GONE_AFTER_S", 0.2)
    path = folder / "blue.log"
    path.write_text("zero\none\n")
    printed: list[bytes] = []
    monkeypatch.setattr(logs, "_print", printed.append)
    codes: list[int] = []
    following = threading.Thread(target=lambda: codes.append(main(["logs", "blue", "-f", "-n", "1"])))
    following.start()

    def wait_for(line: bytes) -> None:
        while line not in printed and following.is_alive():
            following.join(0.01)

    wait_for(b"one")
    with path.open("ab") as file:
        file.write(b"two\nthr")
        file.flush()
        wait_for(b"two")
        path.rename(folder / "blue.log.1")
        file.write(b"ee\n")
    path.write_text("four\n")
    wait_for(b"four")
    path.write_text("5\n")
    wait_for(b"5")
    path.unlink()
    following.join(60)
    assert printed == [b"one", b"two", b"three", b"four", b"5"]
    assert codes == [5]
    assert "is gone" in capsys.readouterr().err


def test_the_journal_of_a_unit(tmp_path: Path) -> None:
    """vnicctl becomes journalctl, which here only tells what it was asked for."""
    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    code = """
from vnicd.cli import main, process
process.document = lambda *words: {"unit": f"{words[1]}.service", "files": []}
raise SystemExit(main.main(["logs", "blue", "-f", "-n", "3"]))
"""
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "--quiet --no-pager --unit blue.service --lines 3 --follow\n", done.stderr
    program.unlink()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (
        12,
        "vnicctl: journalctl can't be run: No such file or directory\n",
    )
