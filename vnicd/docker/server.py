"""HTTP on a Unix socket, as Docker speaks it to its plugins; only root can connect, and each call has a thread."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from vnicd.docker import wire
from vnicd.docker.driver import Driver
from vnicd.errors import VnicdError
from vnicd.process import unix_sockets

log = logging.getLogger(__name__)

IDLE_TIMEOUT_S = 120.0
"""Seconds that a connection may say nothing; Docker keeps them for 30."""

DIGITS_MOST = 18
"""Of a length; a longer number is nobody's."""

FINISH_TIMEOUT_S = 20.0
"""Seconds that calls have to be finished when the service is to end."""


class Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Serves a socket that listens already, until shutdown()."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, driver: Driver) -> None:
        super().__init__("", Handler)
        self.socket = listener
        self.driver = driver
        self.idle = threading.Condition()
        self.busy = 0
        """Calls that are being carried out."""

    def fileno(self) -> int:
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, str]:
        return self.socket.accept()[0], ""

    def shutdown_request(self, request: Any) -> None:
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection of Docker's has ended", exc_info=True)

    def finish(self) -> None:
        """Wait until no call is being carried out any more."""
        with self.idle:
            self.idle.wait_for(lambda: not self.busy, FINISH_TIMEOUT_S)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT_S

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a call has a Content-Length")
            return
        if len(length) > DIGITS_MOST or int(length) > wire.LONGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the call is too long")
            return
        body = self.rfile.read(int(length))
        if len(body) == int(length):
            with self.server.idle:
                self.server.busy += 1
            try:
                self._answer(*self._carry_out(self.path.lstrip("/"), body))
            finally:
                with self.server.idle:
                    self.server.busy -= 1
                    self.server.idle.notify_all()

    def _carry_out(self, method: str, body: bytes) -> tuple[HTTPStatus, dict[str, Any]]:
        try:
            caller = unix_sockets.peer(self.connection)[1]
            return HTTPStatus.OK, self.server.driver.answer(method, wire.parse(body), caller)
        except VnicdError as error:
            log.warning("%s: %s", method, error.line())
            return HTTPStatus.OK, {"Err": error.line()}
        except KeyError as error:
            if error.args != (method,):
                log.exception("%s has failed", method)
                return HTTPStatus.OK, {"Err": "an internal error of vnicd; see its log"}
            return HTTPStatus.NOT_FOUND, {"Err": f"vnicd has no {method[:64]}"}
        except Exception:
            log.exception("%s has failed", method)
            return HTTPStatus.OK, {"Err": "an internal error of vnicd; see its log"}

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        self._answer(status, {"Err": text})

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", wire.CONTENT_TYPE)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
