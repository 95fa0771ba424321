"""vnicctl exec becomes the command that it is given; entering the namespace is pretended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.framework.control.fakehost import FakeHost
from vnicd.errors import NotFound

VNICCTL = [sys.executable, "-m", "tests.framework.programs.vnicctl"]

pytestmark = pytest.mark.usefixtures("host")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*VNICCTL, "exec", *words], capture_output=True, text=True)


def failure(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """(exit code, error) of a vnicctl that failed, which says so in one line."""
    assert done.stdout == ""
    assert done.stderr.startswith("vnicctl: ")
    assert done.stderr.count("\n") == 1
    return done.returncode, done.stderr.removeprefix("vnicctl: ").rstrip("\n")


def test_it_runs_in_the_namespace(host: FakeHost) -> None:
    done = run("blue", "--", "sh", "-c", "echo $ENTERED; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "/run/netns/blue\n", "")
    assert host.requests == [("partition.show", {"name": "blue"})]


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["blue", "echo", "-n", "--help", "--json"], "--help --json"),
        (["blue", "--", "echo", "--", "x"], "-- x\n"),
        (["--", "blue", "--", "echo", "x"], "x\n"),
        (["-it", "blue", "echo", "-it"], "-it\n"),
        (["--interactive", "--tty", "blue", "--", "echo", "x"], "x\n"),
        (["blue", "-i", "-t", "--", "echo", "x"], "x\n"),
    ],
)
def test_all_words_after_the_name_are_the_commands(words: list[str], output: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (0, output)


INHERITED = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
"""The sanitizers' libraries are preloaded in the tests' own process."""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the preload library; the loader complains of it and goes on."""
    path = tmp_path / "libvnicd-sockets.so"
    path.write_bytes(b"")
    monkeypatch.setenv("LIBRARY", str(path))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["--direct", "blue", "--"],
        ["blue", "--direct", "--"],
        ["blue", "--direct"],
        ["--direct", "--", "blue", "--"],
    ],
)
def test_direct_preloads_the_library(
    words: list[str], library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for before, after in (
        ("", ":".join([*INHERITED, str(library)])),
        ("/x.so y.so", f"/x.so:y.so:{library}"),
        (str(library), str(library)),
    ):
        monkeypatch.setenv("PRELOADED", before)
        done = run(*words, "printenv", "LD_PRELOAD", "ENTERED")
        assert (done.returncode, done.stdout) == (0, f"{after}\n/run/netns/blue\n")


def test_without_direct_nothing_is_preloaded() -> None:
    done = run("blue", "--", "printenv", "LD_PRELOAD")
    assert done.stdout.replace(" ", ":").split() == ([":".join(INHERITED)] if INHERITED else [])
    assert run("blue", "--", "--direct").returncode == 127, "after the -- it is a command"


def test_direct_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRARY", "/nowhere/libvnicd-sockets.so")
    code, line = failure(run("--direct", "blue", "--", "ls"))
    assert code == 125
    assert line.startswith("there is no /nowhere/libvnicd-sockets.so; build it with")


def test_signals_are_the_commands_own() -> None:
    assert run("blue", "--", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    assert run("blue", "--", "sh", "-c", "kill -PIPE $$").returncode == -signal.SIGPIPE


def test_standard_input_is_the_commands(host: FakeHost) -> None:
    argv = [*VNICCTL, "exec", "blue", "--", "cat"]
    assert subprocess.run(argv, input=b"hello", capture_output=True).stdout == b"hello"


@pytest.mark.parametrize(
    ("command", "code", "line"),
    [
        ("no-such-command", 127, "no-such-command: command not found"),
        ("/no/such/command", 127, "/no/such/command: command not found"),
        ("/etc/passwd", 126, "cannot run /etc/passwd: Permission denied"),
        ("/", 126, "cannot run /: Permission denied"),
    ],
)
def test_a_command_that_cannot_be_run(
    command: str, code: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert failure(run("blue", "--", command)) == (code, line)


@pytest.mark.parametrize(
    "words", [[], ["blue"], ["blue", "--"], ["blue", "--", ""], ["-it", "blue"], ["--bogus", "blue", "ls"]]
)
def test_bad_usage(words: list[str]) -> None:
    assert failure(run(*words))[0] == 125


def test_no_such_partition(host: FakeHost) -> None:
    host.answers["partition.show"] = NotFound("no partition is called purple", "see: vnicctl partition list")
    line = "no partition is called purple; see: vnicctl partition list"
    assert failure(run("purple", "--", "ls")) == (125, line)


def test_not_running(host: FakeHost) -> None:
    host.close()
    assert failure(run("blue", "--", "ls"))[0] == 125


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("EPERM", "not allowed to enter the namespace /run/netns/blue; run vnicctl as root"),
        ("ENOENT", "the namespace /run/netns/blue is gone"),
        (
            "EINVAL",
            "/run/netns/blue is no namespace here: it was made in another mount namespace, as of ip netns exec; "
            "use nsenter --net=/run/netns/NAME instead of ip netns exec NAME",
        ),
        ("EIO", "Input/output error"),
    ],
)
def test_a_namespace_that_cannot_be_entered(fault: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", fault)
    assert failure(run("blue", "--", "ls")) == (125, line)
