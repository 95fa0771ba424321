"""vnicctl down and doctor with a `vnicd` that pretends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main
from vnicd.errors import NotPermitted

pytestmark = pytest.mark.usefixtures("fabric_dir")

Captured = pytest.CaptureFixture[str]


def started(record: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(record.read_text())
    return told


def test_down_after_everything_was_killed(fabric_dir: Path, record: Path) -> None:
    fabric_dir.mkdir()
    (fabric_dir / "state.json").write_text("{}")
    assert main(["down"]) == 0
    assert started(record)["argv"] == ["teardown"]
    assert not (fabric_dir / "state.json").exists()


def test_down_when_the_host_dies_over_it(
    fabric_dir: Path, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VNICD", "crash")
    assert main(["up"]) == 0
    assert main(["down"]) == 0
    assert started(record)["argv"] == ["teardown"]


def test_down_after_the_files_of_a_dead_fabric_were_deleted(
    fabric_dir: Path, record: Path, capsys: Captured
) -> None:
    fabric_dir.mkdir()
    (fabric_dir / "orphan").touch()
    assert main(["down"]) == 0
    assert started(record)["argv"] == ["teardown"]
    (fabric_dir / "orphan").unlink()
    assert main(["down"]) == 3
    assert "nothing to take down" in capsys.readouterr().err
    assert started(record)["argv"] == ["orphans"]


def test_a_teardown_that_fails(
    fabric_dir: Path, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric_dir.mkdir()
    (fabric_dir / "state.json").write_text("{}")
    monkeypatch.setenv("FAKE_VNICD", "die")
    assert main(["down"]) == 10
    assert error_line() == "no hugepages are free; see vnicctl doctor"


def test_down_names_the_programs_that_go_on(
    fabric_dir: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VNICD", "leaves")
    assert main(["up"]) == 0
    capsys.readouterr()
    assert main(["down"]) == 0
    assert capsys.readouterr().out == (
        "vnicd is down\n"
        "1 program still runs in what was blue (pid 7)\n"
        "9 programs still run in what was green (pids 1, 2, 3, 4, 5, 6, 7, 8 and 1 more)\n"
    )


def test_down_refused_by_the_host(fabric_dir: Path, error_line: ErrorLine) -> None:
    fabric_dir.mkdir()
    host = FakeHost(fabric_dir / "control.sock")
    host.answers["fabric.down"] = NotPermitted("only root may do this")
    assert main(["down"]) == 11
    assert error_line() == "only root may do this"
    host.close()


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_doctor(capsys: Captured) -> None:
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out == (
        "ok    tun        /dev/net/tun opens\n"
        "warn  hugepages  none is free\n"
        "                 -> sysctl vm.nr_hugepages=64\n"
    )


def test_doctor_names_what_is_left(fabric_dir: Path, capsys: Captured) -> None:
    fabric_dir.mkdir()
    (fabric_dir / "orphan").touch()
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith(
        "warn  orphan     red is left\n                 -> vnicctl down\n"
    )


@pytest.mark.parametrize("is_ours", [True, False])
def test_doctor_names_no_stranger(
    fabric_dir: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, is_ours: bool
) -> None:
    """Nobody answers, as under systemd while a daemon starts; the number of the last one may be another's by now."""
    fabric_dir.mkdir()
    for name in ("FABRIC_TIMEOUT", "UPLINK_TIMEOUT"):
        monkeypatch.setattr(f"vnicd.cli.commands.doctor.{name}", 0.2)
    words = ["sleep", "100"] if not is_ours else ["sh", "-c", "read line", "vnicd"]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE) as process,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        (fabric_dir / "host.lock").write_text(str(process.pid))
        listener.bind(str(fabric_dir / "control.sock"))
        listener.listen()
        assert main(["doctor"]) == 2
        told = capsys.readouterr().out
        process.kill()
    assert (str(process.pid) in told) is ("kill -9" in told) is is_ours
    assert "fail  fabric" in told


def test_doctor_fails_when_a_check_does(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VNICD", "unfit")
    assert main(["doctor", "--json"]) == 2
    captured = capsys.readouterr()
    assert [check["status"] for check in json.loads(captured.out)["checks"]] == ["ok", "warn", "fail"]
    assert captured.err == ""


def test_doctor_of_who_is_not_root(
    fabric_dir: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    fabric_dir.mkdir()
    host = FakeHost(fabric_dir / "control.sock")
    host.answers["fabric.check"] = NotPermitted("not allowed to use it", "join the group vnicd")
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "skip  fabric     not allowed to use it\n                 -> join the group" in told
    assert "skip  orphan     only root can see" in told
    host.close()


def test_doctor_without_an_answer(error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VNICD", "die")
    assert main(["doctor"]) == 10
    error_line()
