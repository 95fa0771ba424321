"""vnicctl apply reads a fabric file from whatever the shell gives it: pipes, sockets, standard input."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.framework.control.fakehost import FakeHost
from vnicd.spec.fabric_file import from_json, parse

TEXT = "poll_us = 50\n[uplink]\nnic = 'eth1'\nmode = 'nat'\n[partitions.web]\nrate = '100mbit'\npublish = ['80:80']\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.toml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("kind", ["socket", "pipe"])
def test_standard_input_may_be_anything(host: FakeHost, kind: str) -> None:
    """Under sshd it is a socket, which can't be opened by its name."""
    host.answers["fabric.apply"] = {"changes": [], "kept": [], "refused": False}
    here, there = socket.socketpair() if kind == "socket" else (None, None)
    argv = [sys.executable, "-m", "vnicd.cli.main", "apply", "-"]
    process = subprocess.Popen(
        argv, stdin=there or subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if here is not None and there is not None:
        there.close()
        here.sendall(TEXT.encode())
        here.close()
    output, _ = process.communicate(TEXT.encode() if kind == "pipe" else None, timeout=30)
    assert output == b"nothing to change\n"
    assert from_json(host.requests[0][1]["declared"]) == parse(TEXT, "")


@pytest.mark.parametrize("words", ["apply <(cat {})", "apply /dev/stdin < {}", "apply - < {}", "apply {}"])
def test_a_pipe_of_the_shells_is_a_file(host: FakeHost, file: Path, words: str) -> None:
    host.answers["fabric.apply"] = {"changes": [], "kept": [], "refused": False}
    script = f"{sys.executable} -m vnicd.cli.main {words.format(file)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"nothing to change\n"), done.stderr
    assert from_json(host.requests[0][1]["declared"]) == parse(TEXT, "")


def test_standard_input_is_called_so(runtime: Path) -> None:
    argv = [sys.executable, "-m", "vnicd.cli.main", "apply", "-"]
    done = subprocess.run(argv, input="a = 1", capture_output=True, text=True, timeout=30)
    assert done.returncode == 7
    assert done.stderr.startswith("vnicctl: standard input:1: a: there is no such key")
