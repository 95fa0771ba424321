"""The control server on a real socket: every kind of bad line and client, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.framework.waiting import wait_until
from vnicd.errors import Exists, Resources, VnicdError
from vnicd.host.control.access import Rule, longest_request
from vnicd.host.control.server import Server
from vnicd.protocol.control import Client

MAX_REQUEST = longest_request(os.getuid())

WRONG: dict[str, Exception] = {
    "exists": Exists("it is there", "choose another"),
    "bug": AssertionError("a bug"),
    "value": ValueError("out of bounds"),
    "files": OSError(errno.EMFILE, "Too many open files"),
    "memory": MemoryError(),
    "threads": RuntimeError("can't start new thread"),
    "path": FileExistsError(errno.EEXIST, "File exists", "/run/x"),
}


class Host:
    """A Server in a thread; `release` lets its slow method go on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        methods = {"echo": self.echo, "slow": self.slow, "wrong": self.wrong, "big": self.big}
        self.server = Server(methods, {**dict.fromkeys(methods, Rule()), "slow": Rule("be slow")})
        self.started = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.run(),))

    async def run(self) -> None:
        self.release, self.done = asyncio.Event(), asyncio.Event()
        await self.server.listen(str(self.path))
        self.started.set()
        await self.done.wait()
        self.server.close()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.release.set)
        self.loop.call_soon_threadsafe(self.done.set)
        self.thread.join()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task]))
        self.loop.close()

    async def echo(self, params: dict[str, Any]) -> Any:
        return params

    async def slow(self, params: dict[str, Any]) -> Any:
        await self.release.wait()
        return {}

    async def wrong(self, params: dict[str, Any]) -> Any:
        raise WRONG[params["how"]]

    async def big(self, params: dict[str, Any]) -> Any:
        return "x" * 1_000_000

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(self.path))
        return sock

    def say(self, data: bytes, end: bool = False) -> dict[str, Any]:
        """The answer to these bytes on a connection of their own."""
        with self.connect() as sock:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
            return read_line(sock)


def read_line(sock: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        chunk = sock.recv(1 << 20)
        assert chunk, f"the connection ended after {data!r}"
        data += chunk
    message = json.loads(data)
    assert isinstance(message, dict)
    return message


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    running = Host(tmp_path / "control.sock")
    running.thread.start()
    assert running.started.wait(10)
    yield running
    running.stop()


def test_requests_are_answered_in_order_on_one_connection(host: Host) -> None:
    lines = [json.dumps({"id": n, "method": "echo", "params": {"n": n}}).encode() + b"\n" for n in range(300)]
    with host.connect() as sock, sock.makefile("rb") as answers:
        sock.sendall(b"".join(lines))
        for n in range(300):
            assert json.loads(answers.readline()) == {"id": n, "result": {"n": n}}


@pytest.mark.parametrize(
    ("line", "ident"),
    [(b"", 0), (b"{", 0), (b"[]", 0), (b"null", 0), (b"\xff\xfe", 0), (b'{"id": 3}', 0), (b'{"method": 5}', 0),
     (b'{"method": "echo", "params": [1]}', 0), (b'{"id": "3", "method": "echo"}', 0), (b"[" * 4000, 0),
     (b'{"method": "echo", "params": {"a": ' + b"[" * 4000, 0), (b'{"id": 3, "method": "nothing"}', 3),
     (b'{"id": 3, "method": "__init__"}', 3),
     (b'{"id": true, "method": "echo"}', 0), (b'{"id": 3, "method": "echo", "params": {"a": NaN}}', 0),
     (b'{"id": 3, "method": "echo", "params": {"a": ' + b"[" * 20 + b"]" * 20 + b"}}", 0),
     ('{"id": 3, "method": "echo"}'.encode("utf-16"), 0), (b'{"id": 3, "method": "ech\xe9"}', 0)],
)  # fmt: skip
def test_what_is_no_request_gets_an_error_and_the_connection_goes_on(
    host: Host, line: bytes, ident: int
) -> None:
    with host.connect() as sock:
        for _ in range(2):
            sock.sendall(line + b"\n")
            answer = read_line(sock)
            assert (answer["id"], answer["error"]["code"]) == (ident, "failed")
        sock.sendall(b'{"id": 9, "method": "echo", "params": {"a": 1}}\n')
        assert read_line(sock) == {"id": 9, "result": {"a": 1}}


def test_a_request_of_the_greatest_length_and_one_that_is_too_long(host: Host) -> None:
    frame = len(json.dumps({"method": "echo", "params": {"a": ""}}))
    for length, good in ((MAX_REQUEST, True), (MAX_REQUEST + 1, False)):
        text = "x" * (length - frame)
        answer = host.say(json.dumps({"method": "echo", "params": {"a": text}}).encode() + b"\n")
        assert answer.get("result") == ({"a": text} if good else None)
        assert good or str(MAX_REQUEST) in answer["error"]["message"]
    assert Client(host.path).call("echo", {"a": 1}) == {"a": 1}


def test_a_client_whose_request_is_too_long_is_told_so(host: Host) -> None:
    with pytest.raises(VnicdError, match=str(MAX_REQUEST)):
        Client(host.path).call("echo", {"a": "x" * 5_000_000})


def test_a_line_that_is_cut_off(host: Host) -> None:
    assert host.say(b'{"id": 1, "method": "ec', end=True)["error"]["message"] == "this is not a request"
    with host.connect() as sock:
        sock.sendall(b'{"id": 1, "me')
    assert Client(host.path).call("echo") == {}


def test_errors_of_a_method(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Exists, match="it is there") as caught:
        Client(host.path).call("wrong", {"how": "exists"})
    assert caught.value.hint == "choose another"
    with pytest.raises(VnicdError, match="internal error: AssertionError"):
        Client(host.path).call("wrong", {"how": "bug"})
    assert "a request failed" in caplog.text


def test_a_value_error_of_a_method_is_an_internal_error_too(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """The request was one; what went wrong is the host's own fault, and has to be in its log."""
    with pytest.raises(VnicdError, match="internal error: ValueError"):
        Client(host.path).call("wrong", {"how": "value"})
    assert "out of bounds" in caplog.text


@pytest.mark.parametrize(
    ("how", "words"),
    [("files", "Too many open files"), ("memory", "out of memory"), ("threads", "no thread can be started")],
)
def test_what_there_is_too_little_of_is_one_line(
    host: Host, caplog: pytest.LogCaptureFixture, how: str, words: str
) -> None:
    with pytest.raises(Resources) as caught:
        Client(host.path).call("wrong", {"how": how})
    assert caught.value.message == f"the hosting daemon can't do it: {words}"
    assert not caplog.text


def test_an_error_of_the_system_is_told_without_its_number(host: Host) -> None:
    with pytest.raises(VnicdError, match="can't do it: /run/x: File exists"):
        Client(host.path).call("wrong", {"how": "path"})


def test_slow_and_silent_clients_hold_up_nobody(host: Host) -> None:
    with ExitStack() as stack:
        for say in (b"", b'{"id": 1, "meth', b'{"id": 1, "method": "slow"}\n', b'{"method": "big"}\n' * 20):
            for _ in range(20):
                stack.enter_context(closing(host.connect())).sendall(say)
        begin = time.monotonic()
        for _ in range(20):
            assert Client(host.path).call("echo", {"a": 1}, timeout=2) == {"a": 1}
        assert time.monotonic() - begin < 2


def test_many_clients_at_once(host: Host) -> None:
    with ThreadPoolExecutor(64) as pool:
        answers = pool.map(lambda n: Client(host.path).call("echo", {"n": n}), range(1000))
        assert list(answers) == [{"n": n} for n in range(1000)]
    wait_until(lambda: host.server.clients == 0, 5, "no client is left")
