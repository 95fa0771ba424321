"""vnicctl interrupted, with a pipe that nobody reads, a full disk, closed streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost

VNICCTL = [sys.executable, "-m", "vnicd.cli.main"]


def test_ctrl_c_is_quiet(host: FakeHost) -> None:
    asked, release = threading.Event(), threading.Event()

    def hang(_: dict[str, Any]) -> bool:
        asked.set()
        return release.wait(30)

    host.answers["status"] = hang
    process = subprocess.Popen([*VNICCTL, "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert asked.wait(30)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
    release.set()


@pytest.mark.parametrize("argv", [["status"], ["links", "--json"], ["--help"]])
def test_a_broken_pipe_is_quiet(host: FakeHost, argv: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*VNICCTL, *argv], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("argv", [["status"], ["links", "--json"], ["--version"]])
def test_a_full_disk_is_told_once(host: FakeHost, argv: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*VNICCTL, *argv], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (14, b"vnicctl: No space left on device\n")


def test_closed_standard_streams(host: FakeHost) -> None:
    done = subprocess.run(["sh", "-c", f"{' '.join(VNICCTL)} status >&- 2>&-"])
    assert done.returncode == 0
