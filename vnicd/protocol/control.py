"""The control protocol: one JSON object a line over a Unix stream socket, and its client."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from vnicd.errors import TO_READ, NotPermitted, NotRunning, TimedOut, VnicdError, from_code

MAX_REQUEST = 1 << 20
"""Longest request line in bytes that the hosting daemon reads: a fabric of the most partitions fits well."""

MAX_DEPTH = 16
"""How deep lists and objects may be nested in a request."""

DEFAULT_TIMEOUT = 10.0
"""Seconds that a client waits for a reply."""


def request(ident: int, method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"id": ident, "method": method, "params": params}).encode() + b"\n"


def parse_request(line: bytes) -> tuple[int, str, dict[str, Any]]:
    """(id, method, params) of a request line; ValueError when it is not one."""
    message = json.loads(line.decode(), parse_constant=_no_constant)
    if not isinstance(message, dict) or not _is_shallow(message, MAX_DEPTH):
        raise ValueError("a request is an object")
    ident, method, params = message.get("id", 0), message.get("method"), message.get("params", {})
    if type(ident) is not int or not isinstance(method, str) or not isinstance(params, dict):
        raise ValueError("a request has an integer id, a method name and a params object")
    return ident, method, params


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _is_shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(each, depth - 1) for each in inner)


def result(ident: int, value: Any) -> bytes:
    return json.dumps({"id": ident, "result": value}).encode() + b"\n"


def failure(ident: int, error: VnicdError) -> bytes:
    text = {"code": error.code, "message": error.message, "hint": error.hint}
    return json.dumps({"id": ident, "error": text}).encode() + b"\n"


class Client:
    """A connection to the hosting daemon, made for each call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def call(
        self, method: str, params: dict[str, Any] | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Any:
        """The result of one request.

        Raises the VnicdError that the host answered with, NotRunning when nobody listens, TimedOut after
        `timeout` seconds without an answer.
        """
        deadline = time.monotonic() + timeout
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                self._connect(sock, deadline)
                with suppress(ConnectionError):  # an answer may be there already: the request was refused
                    sock.sendall(request(1, method, params or {}))
                reply = self._read_line(sock, deadline)
            except (FileNotFoundError, ConnectionError) as error:
                raise NotRunning(
                    f"no hosting daemon answers at {self.path}", "start one with: vnicctl up"
                ) from error
            except PermissionError as error:
                raise NotPermitted(f"not allowed to use {self.path}", TO_READ) from error
            except TimeoutError as error:
                raise TimedOut(
                    f"the hosting daemon did not answer {method} in {timeout:g} s", "see: vnicctl doctor"
                ) from error
        return self._unwrap(reply)

    def _connect(self, sock: socket.socket, deadline: float) -> None:
        """Connect, and go on trying while the host's queue is full, which a Unix socket says at once."""
        while True:
            sock.settimeout(remaining(deadline))
            try:
                return sock.connect(str(self.path))
            except BlockingIOError:
                time.sleep(0.01)

    @staticmethod
    def _read_line(sock: socket.socket, deadline: float) -> bytes:
        chunks = []
        while True:
            sock.settimeout(remaining(deadline))
            chunk = sock.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError("the hosting daemon closed the connection")
            chunks.append(chunk)
            if chunk.endswith(b"\n"):
                return b"".join(chunks)

    @staticmethod
    def _unwrap(reply: bytes) -> Any:
        message = json.loads(reply)
        if "error" in message:
            error = message["error"]
            raise from_code(error["code"], error["message"], error.get("hint", ""))
        return message["result"]


def remaining(deadline: float) -> float:
    """Seconds until then; TimeoutError when it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
