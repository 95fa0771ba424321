"""Fixtures of the unit tests: a runtime directory, a pretended hosting daemon, packet sockets, a limit, a broker."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import broker
from tests.support.broker import descriptors
from tests.support.fakehost import FakeHost
from tests.support.packets import Pair, open_fds
from tests.support.preload import Program, address_of, marker
from tests.support.waiting import wait_until
from vnicd.kernel.limits.hugepages import Overcommit

FAKE_VNICD = [sys.executable, "-m", "tests.support.fakevnicd"]

ErrorLine = Callable[[], str]


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime directory that vnicctl uses."""
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("VNICD_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def host(runtime: Path) -> Iterator[FakeHost]:
    fake = FakeHost(runtime / "control.sock")
    yield fake
    fake.close()


@pytest.fixture
def error_line(capsys: pytest.CaptureFixture[str]) -> ErrorLine:
    """Gives the one line on standard error that was all the output, without the program's name."""

    def line() -> str:
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("vnicctl: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        return captured.err.removeprefix("vnicctl: ").rstrip("\n")

    return line


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Where the `vnicd` that pretends tells how it was started."""
    return tmp_path / "record.json"


@pytest.fixture
def fabric_dir(tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory which is not there yet, for a `vnicd` that pretends and that ends with the test."""
    directory = tmp_path / "run"
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(directory))
    monkeypatch.setenv("FAKE_VNICD_RECORD", str(record))
    monkeypatch.delenv("VNICD_DEBUG", raising=False)
    monkeypatch.setattr("vnicd.cli.process.command", lambda *words: [*FAKE_VNICD, *words])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    yield directory
    if record.exists():
        with suppress(ProcessLookupError):
            os.kill(json.loads(record.read_text())["pid"], signal.SIGTERM)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected packet sockets; the test fails when a descriptor is left open."""
    gc.collect()  # what earlier tests have left may be closed meanwhile, by a thread as well
    before = open_fds()
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.settimeout(10)
    yield ends
    for end in ends:
        end.close()
    assert open_fds() <= before, "a descriptor leaked"


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    """A file that stands for a limit of the kernel's."""
    path = tmp_path / "limit"
    path.write_text("3\n")
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def claim(limit: Path, ledger: Path) -> Callable[[], Overcommit]:
    """Makes the claims of fabrics on that limit."""
    return lambda: Overcommit(limit, ledger)


@pytest.fixture(scope="module")
def running() -> Iterator[subprocess.Popen[bytes]]:
    process = broker.start(broker.NAME, ["1::10.9.9.1/24,fd09::1/64"])
    yield process
    process.terminate()
    assert process.wait(10) == 0
    for pipe in (process.stdin, process.stdout):
        assert pipe
        pipe.close()


@pytest.fixture
def program(running: subprocess.Popen[bytes]) -> Iterator[Program]:
    """One that the broker knows; the broker's descriptors are as before when the test is over."""
    before = descriptors(running.pid)
    one = Program(broker.NAME)
    yield one
    one.close()
    wait_until(lambda: descriptors(running.pid) <= before, 10, "the broker has let go of everything")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening TCP socket with the sign of the preload library."""
    with socket.create_server(("127.0.0.1", 0)) as sock, marker(address_of(sock)):
        yield sock
