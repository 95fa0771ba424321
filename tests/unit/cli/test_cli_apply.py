"""vnicctl apply and config export against a hosting daemon that pretends: what is sent, and what is told."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main
from vnicd.spec.fabric_file import from_json, parse

Captured = pytest.CaptureFixture[str]

TEXT = "poll_us = 50\n[uplink]\nnic = 'eth1'\nmode = 'nat'\n[partitions.web]\nrate = '100mbit'\npublish = ['80:80']\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.toml"
    path.write_text(TEXT)
    return path


def change(op: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "op": op,
        "kind": kind,
        "name": name,
        "fields": {},
        "done": True,
        "error": None,
        "obstacles": [],
        "note": "",
        **more,
    }


def error(code: str, message: str) -> dict[str, Any]:
    return {"done": False, "error": {"code": code, "message": message, "hint": "do this"}}


def test_the_file_is_sent_checked(host: FakeHost, file: Path, capsys: Captured) -> None:
    host.answers["fabric.apply"] = {"changes": [], "kept": [], "refused": False}
    assert main(["apply", str(file)]) == 0
    ((method, params),) = host.requests
    assert (method, params["dry_run"]) == ("fabric.apply", False)
    assert from_json(params["declared"]) == parse(TEXT, "")
    assert capsys.readouterr().out == "nothing to change\n"


def test_what_an_empty_file_leaves_is_named(host: FakeHost, file: Path, capsys: Captured) -> None:
    file.write_text("# nothing\n")
    host.answers["fabric.apply"] = {"changes": [], "kept": ["the uplink", "web"], "refused": False}
    assert main(["apply", str(file)]) == 0
    assert host.requests[-1][1]["allow_empty"] is False
    told = capsys.readouterr()
    assert told.out == "nothing to change\n"
    assert told.err == f"{file} declares nothing, so this stays: the uplink, web; --allow-empty removes it\n"
    assert main(["apply", "--allow-empty", str(file)]) == 0
    assert host.requests[-1][1]["allow_empty"] is True


def test_the_file_of_the_machine_is_no_pipe(error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload, which is an apply of systemd's, would wait for ever."""
    monkeypatch.setattr("vnicd.spec.fabric_file.DEFAULT_FILE", "/dev/zero")
    assert main(["apply", "/dev/zero"]) == 7
    assert error_line() == "/dev/zero is not a regular file"


def test_without_the_file_of_the_machine(
    error_line: ErrorLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vnicd.spec.fabric_file.DEFAULT_FILE", str(tmp_path / "vnicd.toml"))
    assert main(["apply", str(tmp_path / "vnicd.toml")]) == 5
    assert error_line().endswith("; name one: vnicctl apply FILE, or write it: vnicctl config export")


def test_a_dry_run(host: FakeHost, file: Path, capsys: Captured) -> None:
    host.answers["fabric.apply"] = {
        "changes": [change("add", "partition", "web", done=False)],
        "kept": [],
        "refused": False,
    }
    assert main(["apply", "--dry-run", str(file)]) == 0
    assert host.requests[0][1]["dry_run"] is True
    assert capsys.readouterr().out == "+ partition web\nnothing was changed: --dry-run\n"


LINES = [
    (change("add", "partition", "web", fields={"rate": [None, 10**8]}), "+ partition web"),
    (change("remove", "partition", "old"), "- partition old"),
    (
        change("change", "partition", "db", fields={"rate": [10**8, 2 * 10**8], "mtu": [1400, None]}),
        "~ partition db: rate 100mbit -> 200mbit, mtu 1400 -> the uplink's",
    ),
    (
        change(
            "change", "partition", "db", fields={"addresses": [["a", "b"], ["b", "c"]], "rate": [None, 10**9]}
        ),
        "~ partition db: addresses -a +c, rate unlimited -> 1gbit",
    ),
    (
        change("replace", "partition", "db", fields={"netns": [None, "/run/netns/box"]}),
        "~ partition db: netns its own -> /run/netns/box (is made anew)",
    ),
    (change("add", "uplink", "eth1", fields={"nic": [None, "eth1"]}), "+ uplink eth1"),
    (change("remove", "uplink", "eth1"), "- uplink eth1"),
    (
        change(
            "change", "uplink", "eth1", fields={"mode": ["bridge", "nat"], "publish": [None, ["80:web:80"]]}
        ),
        "~ uplink: mode bridge -> nat, publish +80:web:80",
    ),
    (
        change("change", "uplink", "eth1", fields={"propagate_link": [False, True]}),
        "~ uplink: propagate_link false -> true",
    ),
    (
        change(
            "change", "option", "idle_timeout", fields={"idle_timeout": [60.0, 0.5]}, done=False, note="later"
        ),
        "~ option idle_timeout: 60 -> 0.5 (later)",
    ),
    (
        change("add", "partition", "db", **error("taken", "it is taken")),
        "+ partition db: failed: it is taken",
    ),
]


@pytest.mark.parametrize(("told", "line"), LINES, ids=[line for _, line in LINES])
def test_a_line_for_each_change(
    host: FakeHost, file: Path, capsys: Captured, told: dict[str, Any], line: str
) -> None:
    host.answers["fabric.apply"] = {"changes": [told], "kept": [], "refused": False}
    assert main(["apply", str(file)]) == (8 if told["error"] else 0)
    assert capsys.readouterr().out == f"{line}\n"


def test_the_first_failure_is_the_exit_code(host: FakeHost, file: Path, capsys: Captured) -> None:
    told = [
        change("remove", "partition", "old"),
        change("add", "uplink", "eth1", **error("not_found", "no NIC")),
        change("add", "partition", "db", **error("taken", "it is taken")),
    ]
    host.answers["fabric.apply"] = {"changes": told, "kept": [], "refused": False}
    for words, code in (([], 5), (["--json"], 5)):
        assert main(["apply", str(file), *words]) == code
        captured = capsys.readouterr()
        assert captured.err == "vnicctl: no NIC; do this\n"
        if words:
            assert json.loads(captured.out) == {"changes": told, "kept": [], "refused": False}
        else:
            assert captured.out.count("\n") == 3


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["--json"]])
def test_what_is_in_the_way_is_listed(host: FakeHost, file: Path, capsys: Captured, words: list[str]) -> None:
    """All of it, below its change; the exit code is one of its own."""
    obstacles = [
        {"code": "no_namespace", "message": "there is none", "hint": ""},
        {"code": "taken", "message": "it is taken", "hint": "use --ifname"},
    ]
    told = [
        change("remove", "partition", "old", done=False),
        change("add", "uplink", "eth1", done=False, obstacles=[{**obstacles[0], "hint": "make one"}]),
        change("add", "partition", "db", done=False, obstacles=obstacles),
    ]
    answer = {"changes": told, "kept": [], "refused": True}
    host.answers["fabric.apply"] = answer
    assert main(["apply", str(file), *words]) == 16
    captured = capsys.readouterr()
    assert (
        captured.err
        == "vnicctl: nothing was changed: 2 changes can't be made; mend that, and apply it again\n"
    )
    if "--json" in words:
        assert json.loads(captured.out) == answer
        return
    assert captured.out.splitlines() == [
        "- partition old",
        "+ uplink eth1",
        "  can't be made: there is none; make one",
        "+ partition db",
        "  can't be made: there is none",
        "  can't be made: it is taken",
    ]


def test_colours_are_for_terminals(host: FakeHost, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    host.answers["fabric.apply"] = {
        "changes": [change("remove", "partition", "old")],
        "kept": [],
        "refused": False,
    }
    for output, expected in (
        (Terminal(), "\x1b[31m- partition old\x1b[0m\n\x1b[2mremoved: old\x1b[0m\n"),
        (io.StringIO(), "- partition old\n"),
    ):
        monkeypatch.setattr("sys.stdout", output)
        assert main(["apply", str(file)]) == 0
        assert output.getvalue() == expected


def test_a_mistake_is_told_without_asking_the_host(host: FakeHost, file: Path, error_line: ErrorLine) -> None:
    file.write_text(TEXT + "mtu = 1\n")
    assert main(["apply", str(file)]) == 7
    assert error_line() == f"{file}:8: partitions.web.mtu: the MTU must be 576 to 65000, not 1"
    assert not host.requests


def test_a_file_that_is_not_there(host: FakeHost, tmp_path: Path, error_line: ErrorLine) -> None:
    assert main(["apply", str(tmp_path / "none")]) == 5
    assert "there is no file" in error_line()
    assert not host.requests


def test_export_prints_what_apply_takes(host: FakeHost, capsys: Captured) -> None:
    declared = {"poll_us": 50, "partitions": {"web": {"rate": "100mbit"}}}
    host.answers["config.export"] = {"declared": declared}
    assert main(["config", "export"]) == 0
    assert parse(capsys.readouterr().out, "") == from_json(declared)
    assert main(["config", "export", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"declared": declared}
