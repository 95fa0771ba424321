"""The control protocol: lines there and back, and a client that meets every way in which a host can fail."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnicd.errors import BY_CODE, NotRunning, TimedOut, VnicdError
from vnicd.protocol import control
from vnicd.protocol.control import Client, parse_request

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.integers(), st.text(), st.dictionaries(st.text(), JSON))
def test_a_request_comes_back_as_it_was(ident: int, method: str, params: dict[str, Any]) -> None:
    line = control.request(ident, method, params)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert parse_request(line) == (ident, method, params)


@given(JSON)
def test_a_result_is_one_line(value: Any) -> None:
    line = control.result(7, value)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line) == {"id": 7, "result": value}


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_line_is_a_request_or_a_value_error(line: bytes) -> None:
    try:
        ident, method, params = parse_request(line)
    except ValueError:
        return
    assert isinstance(ident, int) and isinstance(method, str) and isinstance(params, dict)


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{}", b"[]", b"7", b"null", b'{"method": 7}', b'{"method": "a", "params": []}', b"\xff\xfe",
             b'{"method": "a", "id": "1"}', b'{"method": "a", "id": null}', b'{"method": "a"', b'{"id": ' + b"9" * 5000]
)  # fmt: skip
def test_lines_that_are_no_request(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_request(line)


def test_what_is_left_out_has_a_default() -> None:
    assert parse_request(b'{"method": "status"}') == (0, "status", {})


@contextmanager
def host(path: Path, behave: Callable[[socket.socket], object]) -> Iterator[Client]:
    """A host that takes one connection and behaves like this; a client for it."""

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            behave(peer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Client(path)
        finally:
            thread.join()


def answer(*parts: bytes) -> Callable[[socket.socket], None]:
    """Read a request and send these parts."""

    def behave(peer: socket.socket) -> None:
        peer.recv(65536)
        for part in parts:
            peer.sendall(part)

    return behave


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_the_result_arrives_in_however_many_parts(path: Path) -> None:
    long = json.dumps({"id": 1, "result": "x" * 500_000}).encode() + b"\n"
    with host(path, answer(long[:1], long[1:100], long[100:])) as client:
        assert client.call("a") == "x" * 500_000


@pytest.mark.parametrize("code", BY_CODE)
def test_each_error_comes_back_as_its_class(path: Path, code: str) -> None:
    error = BY_CODE[code]("what is wrong", "what to do")
    with host(path, answer(control.failure(1, error))) as client, pytest.raises(VnicdError) as caught:
        client.call("a")
    assert (type(caught.value), caught.value.line()) == (BY_CODE[code], "what is wrong; what to do")


def test_an_unknown_code_is_a_plain_error(path: Path) -> None:
    reply = b'{"id": 1, "error": {"code": "new", "message": "m"}}\n'
    with host(path, answer(reply)) as client, pytest.raises(VnicdError, match="m") as caught:
        client.call("a")
    assert (type(caught.value), caught.value.exit_code) == (VnicdError, 1)


def test_nobody_listens(path: Path) -> None:
    with pytest.raises(NotRunning, match="no hosting daemon"):
        Client(path).call("a")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotRunning, match="no hosting daemon"):
        Client(path).call("a")


@pytest.mark.parametrize("parts", [(), (b'{"id": 1, "res',)])
def test_a_host_that_dies_before_it_has_answered(path: Path, parts: tuple[bytes, ...]) -> None:
    with host(path, answer(*parts)) as client, pytest.raises(NotRunning):
        client.call("a")


def test_a_host_that_hangs(path: Path) -> None:
    done = threading.Event()
    with host(path, lambda peer: done.wait(5)) as client:
        with pytest.raises(TimedOut, match="did not answer status"):
            client.call("status", timeout=0.05)
        done.set()


def test_a_host_that_trickles_does_not_hold_the_client_for_longer_than_its_timeout(path: Path) -> None:
    """The timeout is for the answer, not for each piece of it."""
    done = threading.Event()

    def behave(peer: socket.socket) -> None:
        for _ in range(30):
            try:
                peer.sendall(b" ")
            except OSError:
                return
            if done.wait(0.02):
                return
        peer.sendall(b'{"id": 1, "result": 1}\n')

    with host(path, behave) as client:
        with pytest.raises(TimedOut):
            client.call("a", timeout=0.1)
        done.set()


def test_an_error_that_comes_before_the_request_was_taken_is_told(path: Path) -> None:
    """The host refuses a line that is too long before it has read all of it."""
    with (
        host(path, lambda peer: peer.sendall(control.failure(0, VnicdError("too long")))) as client,
        pytest.raises(VnicdError, match="too long"),
    ):
        client.call("a", {"name": "x" * 5_000_000})
