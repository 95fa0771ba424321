"""Fixtures that unit and component tests share: a runtime directory, a pretended host, a limit, a listener."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.framework.control.fakehost import FakeHost
from tests.framework.sockets.preload import address_of, marker
from vnicd.kernel.limits.hugepages import Overcommit

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


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening TCP socket with the sign of the preload library."""
    with socket.create_server(("127.0.0.1", 0)) as sock, marker(address_of(sock)):
        yield sock
