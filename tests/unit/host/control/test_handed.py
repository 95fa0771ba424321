"""The control socket that systemd hands on: whether it is still found, and what clients hear whom nobody serves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vnicd.errors import Invalid
from vnicd.host.control.socket_activation import is_at, refuse_waiting
from vnicd.protocol.control import Client, request


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(64)
    return sock


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    with listening(path) as sock:
        yield sock


@pytest.mark.root  # the kernel tells nobody else
def test_a_socket_is_where_its_file_is(path: Path, listener: socket.socket) -> None:
    assert is_at(listener, path)
    with listener.dup() as same:
        assert is_at(same, path)
    path.unlink()
    assert not is_at(listener, path)
    with listening(path) as other:
        assert not is_at(listener, path)
        assert is_at(other, path)
    assert not is_at(listener, path)
    path.unlink()
    path.mkdir()
    assert not is_at(listener, path)


def test_all_who_wait_are_told_why(path: Path, listener: socket.socket) -> None:
    heard: list[BaseException] = []

    def ask() -> None:
        try:
            Client(path).call("status", timeout=10)
        except Invalid as error:
            heard.append(error)

    with socket.socket(socket.AF_UNIX) as gone, socket.socket(socket.AF_UNIX) as silent:
        gone.connect(str(path))
        gone.close()
        silent.connect(str(path))
        silent.sendall(request(1, "status", {}) * 10)
        askers = [threading.Thread(target=ask) for _ in range(5)]
        for asker in askers:
            asker.start()
        while any(asker.is_alive() for asker in askers):
            refuse_waiting([listener], Invalid("f.toml:7: this is wrong", "mend it"))
            askers[0].join(0.01)
    assert {str(error) for error in heard} == {"the hosting daemon can't run: f.toml:7: this is wrong"}
    assert len(heard) == 5


def test_nobody_waits(listener: socket.socket) -> None:
    refuse_waiting([listener], Invalid("f.toml:7: this is wrong"))
    refuse_waiting([], Invalid("f.toml:7: this is wrong"))
