"""vnicctl containers on a file system of the test's own: what it does, prints and refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.framework.fixtures import ErrorLine
from vnicd.cli.containers import places
from vnicd.cli.containers.files import Tree
from vnicd.cli.fabrics import networks
from vnicd.cli.main import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "executable", lambda: "/opt/vnicd/libexec/vnicd-cni")
    monkeypatch.setattr(places, "preload_folder", lambda: "/opt/vnicd/preload")


def test_install_and_uninstall(tmp_path: Path, capsys: Captured) -> None:
    assert main(["containers", "install", "--root", str(tmp_path)]) == 0
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["STATE", "PATH", "WHAT"]
    assert lines[1] == ["put", "/opt/cni/bin/vnicd", "CNI plugin"]
    assert lines[-1][:2] == ["put", "/etc/cdi/vnicd.json"]
    assert main(["containers", "uninstall", "--root", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["STATE", "PATH"], ["removed", "/opt/cni/bin/vnicd"]]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_and_json(tmp_path: Path, capsys: Captured) -> None:
    words = [
        "containers",
        "install",
        "--root",
        str(tmp_path),
        "--subnet",
        "10.88.0.0/24",
        "--dry-run",
        "--json",
    ]
    assert main(words) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert {each["state"] for each in files} == {"to put"}
    assert files[-1]["path"] == places.CONFLIST
    assert list(tmp_path.iterdir()) == []


def test_the_network_that_vnicctl_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(tmp_path / "run/networks/fast"))
    assert main(["containers", "install", "--root", str(tmp_path), "--conflist"]) == 0
    ours = json.loads((tmp_path / places.CONFLIST.lstrip("/")).read_text())["plugins"][0]
    assert (ours["network"], ours["runtimeDir"]) == ("fast", str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("state", "subnets", "warns"), [("up", [], True), ("up", ["10.88.0.0/24"], False), ("down", [], False)]
)
def test_a_network_without_subnets(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, state: str, subnets: list[str], warns: bool
) -> None:
    found = {"state": state, "subnets": subnets}
    monkeypatch.setattr(networks, "describe", lambda name: {"name": name, **found})
    assert main(["containers", "install", "--conflist", "--dry-run"]) == 0
    assert ("the network default has no subnets" in capsys.readouterr().err) == warns


def test_a_bad_subnet_changes_nothing(tmp_path: Path, error_line: ErrorLine) -> None:
    assert main(["containers", "install", "--root", str(tmp_path), "--subnet", "10.88.0.1/24"]) == 7
    assert "10.88.0.1/24" in error_line()
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_file(tmp_path: Path, error_line: ErrorLine) -> None:
    (tmp_path / "etc/cdi").mkdir(parents=True)
    (tmp_path / "etc/cdi/vnicd.json").write_text("mine")
    assert main(["containers", "install", "--root", str(tmp_path)]) == 6
    assert "/etc/cdi/vnicd.json is there already" in error_line()


@pytest.mark.parametrize("word", ["install", "uninstall"])
def test_only_root_may(monkeypatch: pytest.MonkeyPatch, error_line: ErrorLine, word: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(Tree, word, None)  # it is the machine's own
    assert main(["containers", word]) == 11
    assert "sudo" in error_line()
