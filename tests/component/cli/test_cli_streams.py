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
    assert (done.returncode, done.stderr) == (
        14,
        b"vnicctl: standard output: No space left on device\n",
    )


def test_closed_standard_streams(host: FakeHost) -> None:
    done = subprocess.run(["sh", "-c", f"{' '.join(VNICCTL)} status >&- 2>&-"])
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "\u6f22\u5b57 \xe9".encode()), ("latin-1", b"\\u6f22\\u5b57 \xe9")]
)
def test_letters_that_the_locale_does_not_have(host: FakeHost, encoding: str, shown: bytes) -> None:
    """ASCII alone is a locale that is not set up, where click writes UTF-8."""
    status = host.answers["status"]
    assert isinstance(status, dict)
    status["fabric"]["degraded"] = "\u6f22\u5b57 \xe9"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([*VNICCTL, "status"], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"degraded  " + shown + b"\n" in done.stdout


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_the_program_is_loaded(ignored: bool) -> None:
    """As early, it is what the system does with the signal; where it is ignored it stays so."""
    code = "import os, signal, vnicd.cli.entry; os.kill(os.getpid(), signal.SIGINT); print('goes on')"
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
    assert done.stderr == b""
    assert (done.returncode, done.stdout) == ((0, b"goes on\n") if ignored else (-signal.SIGINT, b""))
