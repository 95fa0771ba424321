"""Partition daemons as processes: started, watched by pidfd, started again when they die."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable

from vnicd.config import Paths
from vnicd.daemon.ports import Port
from vnicd.kernel import process

BACKOFF_FIRST, BACKOFF_MAX = 0.1, 5.0
"""Seconds before a daemon that died young is started again; doubles each time."""

LIVED = 5.0
"""Seconds after which a daemon's death counts as its first."""


class Supervisor:
    """`on_death(port)` is called when a watched daemon has ended."""

    def __init__(self, paths: Paths, on_death: Callable[[Port], None]) -> None:
        self.paths = paths
        self.on_death = on_death
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.births: dict[str, float] = {}
        self.backoffs: dict[str, float] = {}

    def start(self, port: Port) -> None:
        """Start the daemon of a port. It has a session of its own: it is to outlive us."""
        name = port.spec.name
        self.paths.logs.mkdir(mode=0o755, exist_ok=True)
        with self.paths.log(name).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "vnicd", "partition", name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "VNICD_RUNTIME_DIR": str(self.paths.root)},
            )
        self.children[child.pid] = child
        self.births[name] = asyncio.get_running_loop().time()
        port.pid, port.started = child.pid, process.start_time(child.pid) or 0
        port.state = "starting"
        self._watch(port, os.pidfd_open(child.pid))

    def adopt(self, port: Port, pidfd: int) -> None:
        """Watch a daemon that an earlier hosting daemon has started."""
        self._watch(port, pidfd)

    def forget(self, port: Port) -> None:
        """Watch it no longer."""
        if port.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(port.pidfd)
            os.close(port.pidfd)
            port.pidfd = -1
        child = self.children.pop(port.pid, None)
        if child is not None:
            child.poll()
        port.pid = port.started = 0

    def delay(self, port: Port) -> float:
        """Seconds to wait before the next start: none for the first death, more for each that follows closely."""
        name, now = port.spec.name, asyncio.get_running_loop().time()
        if now - self.births.get(name, -LIVED) >= LIVED:
            self.backoffs[name] = 0.0
        wait = self.backoffs.get(name, 0.0)
        self.backoffs[name] = min(max(BACKOFF_FIRST, 2 * wait), BACKOFF_MAX)
        return wait

    def _watch(self, port: Port, pidfd: int) -> None:
        port.pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._ended, port, pidfd)

    def _ended(self, port: Port, pidfd: int) -> None:
        if port.pidfd == pidfd:
            self.forget(port)
            self.on_death(port)
