"""vnicctl up with a `vnicd` that pretends."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.framework.fixtures import ErrorLine
from vnicd.cli.fabrics.starting import READY_TIMEOUT
from vnicd.cli.main import main

pytestmark = pytest.mark.usefixtures("fabric_dir")

Captured = pytest.CaptureFixture[str]


def started(record: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(record.read_text())
    return told


def test_up_and_down(fabric_dir: Path, record: Path, capsys: Captured) -> None:
    assert main(["up", "--hugepages", "never", "--idle-timeout", "0.5", "--poll-us", "0"]) == 0
    told = started(record)
    assert capsys.readouterr().out == f"vnicd is up: pid {told['pid']}, {fabric_dir}\n"
    assert told["argv"] == [
        "host",
        "--hugepages",
        "never",
        "--idle-timeout",
        "0.5",
        "--poll-us",
        "0",
        "--names",
        "on",
    ]
    assert told["session"] == told["pid"]
    assert fabric_dir.stat().st_mode & 0o777 == 0o755
    assert (fabric_dir / "log/host.log").exists()
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "vnicd is down\n"
    assert not (fabric_dir / "control.sock").exists()


def test_up_with_defaults(record: Path) -> None:
    assert main(["up"]) == 0
    assert started(record)["argv"] == [
        "host",
        "--hugepages",
        "auto",
        "--idle-timeout",
        "60",
        "--poll-us",
        "100",
        "--names",
        "on",
    ]


def test_a_second_up(fabric_dir: Path, record: Path, capsys: Captured, error_line: ErrorLine) -> None:
    assert main(["up"]) == 0
    pid = started(record)["pid"]
    capsys.readouterr()
    assert main(["up"]) == 4
    assert error_line() == f"the fabric of {fabric_dir} is up already, pid {pid}"
    assert (fabric_dir / "log/host.log").exists()


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_directory_is_for_all_to_read(fabric_dir: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert main(["up"]) == 0
    finally:
        os.umask(before)
    assert (fabric_dir / "log").stat().st_mode & 0o777 == 0o755


def test_the_host_does_not_run_in_the_current_directory(
    tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VNICD_RUNTIME_DIR", "run")
    assert main(["up"]) == 0
    assert started(record)["cwd"] != str(tmp_path)
    assert (tmp_path / "run/control.sock").exists()


def test_a_host_that_fails(fabric_dir: Path, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VNICD", "die")
    assert main(["up"]) == 10
    assert error_line() == "no hugepages are free; see vnicctl doctor"
    assert not fabric_dir.exists()


def test_a_host_that_is_killed(
    fabric_dir: Path, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VNICD", "killed")
    assert main(["up"]) == 1
    assert error_line() == "the hosting daemon was killed by signal 9"
    assert not fabric_dir.exists()


def test_a_failed_start_leaves_what_was_there(fabric_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fabric_dir / "log").mkdir(parents=True)
    (fabric_dir / "log/host.log").write_text("vnicd: an older failure\n")
    (fabric_dir / "state.json").write_text("{}")
    monkeypatch.setenv("FAKE_VNICD", "die")
    assert main(["up"]) == 10
    assert (fabric_dir / "state.json").exists()
    assert (fabric_dir / "log/host.log").read_text().startswith("vnicd: an older failure\n")


def test_a_host_that_does_not_get_ready(
    fabric_dir: Path, record: Path, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over once it has answered, however long it takes to come so far."""
    monkeypatch.setenv("FAKE_VNICD", "never")
    now, late = time.monotonic, 0.0

    def say(_: object, text: str) -> None:
        nonlocal late
        late = READY_TIMEOUT if text == "Waiting for blue" else late

    monkeypatch.setattr("vnicd.cli.spinner.Spinner.say", say)
    monkeypatch.setattr("vnicd.cli.fabrics.starting.time.monotonic", lambda: now() + late)
    assert main(["up"]) == 13
    assert "was not ready" in error_line()
    with pytest.raises(ProcessLookupError):
        os.kill(started(record)["pid"], 0)
    assert not fabric_dir.exists()


def test_a_slow_host(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VNICD", "slow")
    said: list[str] = []
    monkeypatch.setattr("vnicd.cli.spinner.Spinner.say", lambda self, text: said.append(text))
    assert main(["up"]) == 0
    assert "Waiting for blue" in said


def test_up_needs_root(fabric_dir: Path, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["up"]) == 11
    assert "only root" in error_line()
    assert not fabric_dir.exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--hugepages", "some"],
        ["--idle-timeout", "0"],
        ["--idle-timeout", "nan"],
        ["--poll-us", "-1"],
        ["--names", "x"],
    ],
)
def test_bad_options(fabric_dir: Path, error_line: ErrorLine, options: list[str]) -> None:
    assert main(["up", *options]) == 7
    error_line()
    assert not fabric_dir.exists()


def test_a_runtime_directory_that_cannot_be(
    tmp_path: Path, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(tmp_path / "no/where"))
    assert main(["up"]) == 7
    assert error_line() == f"{tmp_path}/no does not exist; make it, or set VNICD_RUNTIME_DIR"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(tmp_path / "file"))
    assert main(["up"]) != 0
    error_line()
    assert (tmp_path / "file").exists()


def test_ctrl_c_during_up_ends_the_host(
    fabric_dir: Path, record: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("FAKE_VNICD", "never")
    monkeypatch.setattr("vnicd.cli.spinner.Spinner.say", interrupt)
    assert main(["up"]) == 130
    assert capsys.readouterr() == ("", "")
    assert not fabric_dir.exists()
