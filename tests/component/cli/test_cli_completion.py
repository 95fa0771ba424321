"""What the shell completes for vnicctl: commands, partitions, programs to run in one."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.framework.control.fakehost import FakeHost, partition
from vnicd.cli import params
from vnicd.cli.main import main

VNICCTL = [sys.executable, "-m", "vnicd.cli.main"]


def complete(line: str) -> list[str]:
    """The words that bash offers for the last word of `line`."""
    words = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "_VNICCTL_COMPLETE": "bash_complete",
    }
    done = subprocess.run(VNICCTL, env={**os.environ, **words}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [text.partition(",")[2] for text in done.stdout.split()]


def test_completion_of_commands(host: FakeHost) -> None:
    assert complete("vnicctl par") == ["partition"]
    assert complete("vnicctl partition ") == ["add", "remove", "restart", "list", "show", "set", "wait"]


@pytest.mark.parametrize(
    "command",
    ["partition show", "partition set", "partition rm", "partition wait blue", "exec", "exec -it", "stats"],
)
def test_completion_of_partitions(host: FakeHost, command: str) -> None:
    assert complete(f"vnicctl {command} ") == ["blue", "green", "red"]
    assert complete(f"vnicctl {command} gr") == ["green"]


def test_completion_of_values(host: FakeHost) -> None:
    assert complete("vnicctl logs h") == ["host"]
    assert complete("vnicctl up --hugepages ") == ["auto", "require", "never"]
    assert complete("vnicctl up --names ") == ["on", "local", "off"]
    assert complete("vnicctl up --log-level w") == ["warning"]
    assert complete("vnicctl partition wait blue --until ") == ["up", "down", "removed"]
    host.answers["partition.list"] = {
        "partitions": [partition("a", 1, owner={"app": "x"}), partition("b", 2)]
    }
    assert complete("vnicctl ls --owner ") == ["app", "app=x"]
    assert complete("vnicctl stats --watch ") == ["a", "b"]


def test_completion_of_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("red", "blue", "black"):
        (tmp_path / name).touch()
    monkeypatch.setattr(params, "NETNS_DIRECTORY", str(tmp_path))
    command = click.Command("add")
    of = functools.partial(params.namespaces, click.Context(command), click.Option(["--netns"]))
    assert of("bl") == ["black", "blue"]
    assert [each.type for each in of("/proc/4")] == ["file"]


def test_completion_of_a_command_to_run(host: FakeHost) -> None:
    assert "env" in complete("vnicctl exec blue -- en")


def test_completion_without_a_fabric_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(tmp_path))
    assert complete("vnicctl partition show ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    assert "_VNICCTL_COMPLETE" in capsys.readouterr().out
