"""HTTP on a Unix socket, as Docker speaks it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from vnicd.docker import wire
from vnicd.docker.driver import Driver
from vnicd.docker.main import listen
from vnicd.docker.server import Server
from vnicd.errors import AlreadyRunning, Busy


class FakeDriver:
    """Answers with what it was asked; fails when it is told to."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def answer(self, method: str, call: Mapping[str, Any], caller: int) -> dict[str, Any]:
        if method == "Wait":
            self.entered.set()
            self.leave.wait(10)
        if method == "Busy":
            raise Busy("it is in use", "try again")
        if method == "Broken":
            raise KeyError("of an error in it")
        if method == "Unknown":
            raise KeyError(method)
        return {"method": method, "call": dict(call), "caller": caller}


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def server(tmp_path: Path, driver: FakeDriver) -> Iterator[Server]:
    found = Server(listen(tmp_path / "plugins" / "vnicd.sock"), cast("Driver", driver))
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.socket.close()


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


@pytest.fixture
def docker(server: Server, tmp_path: Path) -> Iterator[Connection]:
    connection = Connection(tmp_path / "plugins" / "vnicd.sock")
    yield connection
    connection.close()


def post(docker: Connection, method: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
    docker.request("POST", f"/{method}", body, headers)
    answer = docker.getresponse()
    assert answer.getheader("Content-Type") == wire.CONTENT_TYPE
    return answer.status, json.loads(answer.read())


def test_calls_on_one_connection(docker: Connection) -> None:
    assert post(docker, "Plugin.Activate") == (
        200,
        {"method": "Plugin.Activate", "call": {}, "caller": os.getpid()},
    )
    assert post(docker, "Join", b'{"A": 1}')[1]["call"] == {"A": 1}


@pytest.mark.parametrize(
    ("method", "body", "status", "text"),
    [
        ("Busy", b"{}", 200, "it is in use; try again"),
        ("Broken", b"{}", 200, "an internal error of vnicd; see its log"),
        ("Unknown", b"{}", 404, "vnicd has no Unknown"),
        ("Join", b"{", 200, "the call is not JSON"),
        ("Join", b"[]", 200, "the call is no object"),
    ],
)
def test_errors_are_told_and_the_connection_goes_on(
    docker: Connection, method: str, body: bytes, status: int, text: str
) -> None:
    found = post(docker, method, body)
    assert found[0] == status and text in found[1]["Err"]
    assert post(docker, "Join")[0] == 200


@pytest.mark.parametrize("length", [str(wire.LONGEST_BODY + 1), "9" * 5000])
def test_what_is_too_long_is_not_read(docker: Connection, length: str) -> None:
    docker.putrequest("POST", "/Join")
    docker.putheader("Content-Length", length)
    docker.endheaders()
    assert docker.getresponse().status == 413


def test_a_call_without_a_length(docker: Connection) -> None:
    docker.putrequest("POST", "/Join")
    docker.putheader("Transfer-Encoding", "chunked")
    docker.endheaders()
    assert docker.getresponse().status == 411


def test_garbage_ends_a_connection_alone(docker: Connection, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "plugins" / "vnicd.sock"))
        sock.sendall(b"\x00\xff" * 100 + b"\r\n\r\n")
        while sock.recv(4096):
            pass
    assert post(docker, "Join")[0] == 200


def test_calls_are_finished_at_the_end(server: Server, docker: Connection, driver: FakeDriver) -> None:
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(post(docker, "Wait")))
    asking.start()
    driver.entered.wait(10)
    ending = threading.Thread(target=server.finish)
    ending.start()
    assert ending.is_alive()
    driver.leave.set()
    ending.join(10)
    assert not ending.is_alive()
    asking.join(10)
    assert answers[0][0] == 200


def test_root_alone_can_connect_and_one_serves(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "plugins" / "vnicd.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(AlreadyRunning):
        listen(path)


def test_a_socket_that_was_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "vnicd.sock"
    listen(path).close()
    listen(path).close()
