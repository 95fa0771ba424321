"""The service `vnicd docker`: Docker's network driver `vnicd`, on a socket that systemd or the service itself opens."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from types import FrameType

from vnicd.config import Options, Paths, wanted_log_level
from vnicd.docker.driver import Driver
from vnicd.docker.fabrics import Fabrics
from vnicd.docker.networks import Networks
from vnicd.docker.server import Server
from vnicd.errors import AlreadyRunning, NotPermitted, Resources
from vnicd.process import logs
from vnicd.process.systemd_notify import Notifier, listening_sockets

log = logging.getLogger(__name__)

SOCKET = Path("/run/docker/plugins/vnicd.sock")
"""Docker calls a driver as the file is called."""

STATE = Path("/var/lib/vnicd/docker.json")


def listen(path: Path) -> socket.socket:
    """A socket at the path to which root alone can connect; AlreadyRunning when somebody serves there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise AlreadyRunning(f"another driver of Docker's serves {path}")
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(64)
    except OSError as error:
        sock.close()
        raise Resources(f"no socket can be opened at {path}: {error.strerror or error}") from error
    except AlreadyRunning:
        sock.close()
        raise
    return sock


def main(path: Path | None = None, state: Path | None = None) -> int:
    """Serve Docker until a signal; the exit code. What is not given is where it is usually."""
    if os.geteuid() != 0:
        raise NotPermitted("the driver for Docker needs root")
    logs.begin(logs.known_level(wanted_log_level(), Options.log_level), {})
    notify = Notifier()
    handed = listening_sockets()
    networks = Networks(state or STATE)
    driver = Driver(Fabrics(Paths.from_environment().default), networks)
    listener = handed[0] if handed else listen(path or SOCKET)
    server = Server(listener, driver)

    def stop(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    notify.ready("serving Docker")
    log.info("ready")
    try:
        server.serve_forever()
        notify.stopping()
        server.finish()
    finally:
        if not handed:
            (path or SOCKET).unlink(missing_ok=True)
        logs.end()
    return 0
