"""vnicctl sockets: the columns for direct connections, the reasons of others, the library's path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.framework.control.fakehost import FakeHost
from tests.framework.fixtures import ErrorLine
from vnicd.cli import library
from vnicd.cli.main import main

UP = {
    "client": {"address": "10.77.0.1", "port": 40000, "partition": "web", "pids": [100], "program": "bench",
               "sent": 10, "wakeups": 1},
    "server": {"address": "fd77::2", "port": 6379, "partition": "db", "pids": [200, 201], "program": "redis",
               "sent": 2048, "wakeups": 2000},
    "state": "up",
}  # fmt: skip
OFFERED = {
    "client": UP["client"],
    "server": {"address": "10.77.0.9", "port": 80, "partition": None, "pids": [], "program": None, "sent": None,
               "wakeups": None},
    "state": "offered",
}  # fmt: skip
PROGRAM = {
    "pid": 100, "program": "bench", "partition": "web", "decided": {"direct": 2, "no_library": 1},
    "recent": [{"target": "10.77.0.3:80", "why": "no_library", "reason": "the server runs without the library",
                "ago_s": 61.5}],
}  # fmt: skip


def test_connections_and_reasons_are_shown(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.answers["sockets.list"] = {"connections": [UP, OFFERED], "processes": [PROGRAM], "truncated": False}
    assert main(["sockets"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["CLIENT", "SERVER", "STATE", "SENT", "RECEIVED", "PROGRAMS"]
    assert lines[1][:5] == ["web:40000", "db:6379", "up", "10B", "2KiB"]
    assert " ".join(lines[1][5:]) == "bench (100) - redis (200 and 1 more)"
    assert lines[2][1:5] == ["10.77.0.9:80", "offered", "10B", "-"]
    assert lines[5][:6] == ["bench", "100", "web", "10.77.0.3:80", "1", "1m"]
    assert " ".join(lines[5]).endswith("the server runs without the library")


def test_reasons_are_grouped(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    """By the other end; of an accepting program, whose other ends have a port each, by its address."""

    def decisions(why: str, *targets: str) -> list[dict[str, object]]:
        return [{"target": target, "why": why, "reason": why, "ago_s": 2.0} for target in targets]

    client = {
        **PROGRAM,
        "decided": {"short_lived": 900},
        "recent": decisions("short_lived", *["10.77.0.3:80"] * 3),
    }
    server = {
        **PROGRAM,
        "pid": 7,
        "recent": decisions("no_offer", "10.77.0.4:4000", "10.77.0.4:4001", "[fd77::2]:9"),
    }
    host.answers["sockets.list"] = {"connections": [], "processes": [client, server], "truncated": False}
    assert main(["sockets"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    assert [row[1:5] for row in rows] == [
        ["100", "web", "10.77.0.3:80", "900"],
        ["7", "web", "10.77.0.4", "2"],
        ["7", "web", "[fd77::2]", "1"],
    ]


def test_a_container_is_shown_instead_of_its_partition(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = {**UP, "client": {**UP["client"], "container": "shop/web-0"}}  # type: ignore[dict-item]
    program = {**PROGRAM, "container": "shop/web-0"}
    host.answers["sockets.list"] = {"connections": [connection], "processes": [program], "truncated": False}
    assert main(["sockets"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1][:2] == ["shop/web-0:40000", "db:6379"]
    assert lines[4][2] == "shop/web-0"


def test_json_is_what_the_host_said(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"connections": [UP], "processes": [PROGRAM], "truncated": False}
    host.answers["sockets.list"] = data
    assert main(["sockets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == data


def test_nothing_is_a_header(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.answers["sockets.list"] = {"connections": [], "processes": [], "truncated": False}
    assert main(["sockets"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_library_is_named_without_a_fabric(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / library.NAME
    path.touch()
    monkeypatch.setattr(library, "place", lambda: path)
    assert main(["sockets", "--library"]) == 0
    assert capsys.readouterr().out == f"{path}\n"


def test_a_library_that_was_not_built(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_line: ErrorLine
) -> None:
    monkeypatch.setattr(library, "place", lambda: tmp_path / library.NAME)
    assert main(["sockets", "--library"]) == 12
    assert error_line() == f"there is no {tmp_path / library.NAME}; build it with: scripts/setup"


def test_an_installed_library_suits_every_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One path is preloaded, also where another copy was named before: two would get in each other's way."""
    for name in (library.NAME, library.MUSL_NAME):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(library, "place", lambda: tmp_path / library.NAME)
    monkeypatch.setattr(library, "INSTALLED", tmp_path / "preload")
    before = {library.PRELOAD: f"/x.so {tmp_path / library.NAME}"}
    assert library.preload(before) == f"/x.so:{tmp_path / library.NAME}"
    library.lay_out(library.INSTALLED)
    assert library.preload(before) == f"/x.so:{tmp_path}/preload/$LIB/{library.NAME}"
    for folder, text in (("lib", library.NAME), ("lib64", library.NAME), ("$LIB", library.MUSL_NAME)):
        assert (library.INSTALLED / folder / library.NAME).read_text() == text
