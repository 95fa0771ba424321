"""Partition daemons as processes: started, watched by pidfd, started again when they die."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from vnicd.config import Paths
from vnicd.host.partitions import last_words
from vnicd.host.partitions.last_words import Deaths
from vnicd.host.partitions.spare import Spare
from vnicd.host.ports.port import Port
from vnicd.kernel import process
from vnicd.process import logs, privileges

log = logging.getLogger(__name__)

BACKOFF_FIRST, BACKOFF_MAX = 0.1, 5.0
"""Seconds before a daemon that died young is started again; doubles each time."""

TERM_TIMEOUT_S = 1.0
"""Seconds between SIGTERM and SIGKILL."""

PREPARE_AFTER_S = 0.2
"""Seconds after an addition until a spare daemon is started for the next one."""

LIVED = 5.0
"""Seconds after which a daemon's death counts as its first."""


class Supervisor(ABC):
    """Watches partition daemons; `on_death(port)` is called when one has ended. How they start is a subclass's."""

    def __init__(self, paths: Paths, on_death: Callable[[Port], None]) -> None:
        self.paths = paths
        self.on_death = on_death
        self.births: dict[str, float] = {}
        self.backoffs: dict[str, float] = {}
        self.deaths: dict[str, Deaths] = {}
        """{partition: of its daemons since the last that came up}."""
        self.tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def start(self, port: Port) -> None:
        """Start the daemon of a port, which is to outlive us. It registers by itself."""

    @abstractmethod
    def owns(self, port: Port, pid: int) -> bool:
        """Whether a process is the daemon of this port."""

    def owner(self, ports: Iterable[Port], pid: int) -> Port | None:
        """The port whose daemon this process is, if it is one's."""
        return next((port for port in ports if self.owns(port, pid)), None)

    @abstractmethod
    def has_daemon(self, port: Port) -> bool:
        """Whether there is, or may soon be, something for end() to end."""

    @abstractmethod
    async def end(self, port: Port) -> None:
        """End the daemon of a port; nothing happens if it has none."""

    @abstractmethod
    def withdraw(self, port: Port) -> None:
        """The partition is no more: take away what was made for its daemon to start."""

    async def hopeless(self, port: Port) -> str:
        """Wait until there is no use in waiting for the daemon of a port that is being added; why it does not start."""
        deaths = self.deaths_of(port)
        await deaths.are_too_many.wait()
        return deaths.words

    async def last_words(self, port: Port) -> str:
        """Why the daemon of a port has ended, or what it has said last; empty when that is not known."""
        return self.deaths_of(port).words or self.said(port)

    def said(self, port: Port) -> str:
        """What the daemon of a port that lives has said last, if it is for us to know."""
        return ""

    def obituary(self, port: Port) -> str:
        """Why the daemon of a port, which has just ended, did so; empty when that is not known."""
        return ""

    def deaths_of(self, port: Port) -> Deaths:
        return self.deaths.setdefault(port.spec.name, Deaths())

    def came_up(self, port: Port) -> None:
        """Its daemon serves: what became of those before counts no more."""
        self.deaths.pop(port.spec.name, None)

    @abstractmethod
    def prepare(self) -> None:
        """Another partition may be added soon, and quickly: have what can be had before."""

    @abstractmethod
    def close(self) -> None:
        """No daemon is to be started any more."""

    @abstractmethod
    async def service_stopped(self) -> None:
        """The hosting daemon was told to end, and the fabric stays."""

    @abstractmethod
    async def end_service(self) -> None:
        """The fabric was taken down, and nobody is to start the hosting daemon again."""

    def adopt(self, port: Port, pid: int, pidfd: int) -> None:
        """Watch a daemon that an earlier hosting daemon has started, or somebody else."""
        self.forget(port)
        self.watch(port, pid, pidfd)

    def forget(self, port: Port) -> None:
        """Watch it no longer."""
        if port.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(port.pidfd)
        port.unwatched()

    def born(self, port: Port) -> None:
        """Note the time of a start, from which the next delay follows."""
        self.births[port.spec.name] = asyncio.get_running_loop().time()

    def delay(self, port: Port) -> float:
        """Seconds to wait before the next start: none for the first death, more for each that follows closely."""
        name, now = port.spec.name, asyncio.get_running_loop().time()
        if now - self.births.get(name, -LIVED) >= LIVED:
            self.backoffs[name] = 0.0
        wait = self.backoffs.get(name, 0.0)
        self.backoffs[name] = min(max(BACKOFF_FIRST, 2 * wait), BACKOFF_MAX)
        return wait

    def forget_deaths(self, port: Port) -> None:
        """The partition is no more, and another one of its name is not to wait for what became of it."""
        self.births.pop(port.spec.name, None)
        self.backoffs.pop(port.spec.name, None)
        self.deaths.pop(port.spec.name, None)

    def watch(self, port: Port, pid: int, pidfd: int) -> None:
        port.watched(pid, process.start_time(pid) or 0, pidfd)
        asyncio.get_running_loop().add_reader(pidfd, self._ended, port, pidfd)

    def tell(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something without waiting for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def settle(self) -> None:
        """Wait for what was begun without waiting for it."""
        if self.tasks:
            await asyncio.wait(self.tasks)

    def _ended(self, port: Port, pidfd: int) -> None:
        if port.pidfd == pidfd:
            self.deaths_of(port).add(self.obituary(port))
            self.forget(port)
            self.on_death(port)


class Children(Supervisor):
    """Partition daemons as children of ours, each in a session of its own."""

    def __init__(self, paths: Paths, on_death: Callable[[Port], None]) -> None:
        super().__init__(paths, on_death)
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.log_ends: dict[int, int] = {}
        """{pid: bytes of the log when it was started}."""
        self.spare = Spare()
        self.preparing: asyncio.TimerHandle | None = None

    def start(self, port: Port) -> None:
        name, user = port.spec.name, privileges.user_of(self.paths.root, port.number)
        with os.fdopen(self._open_log(name), "ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            child = self.spare.take(name, user, file.fileno()) or subprocess.Popen(
                [sys.executable, "-m", "vnicd", "partition", name],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={**self._environment(), privileges.VARIABLE: str(user)},
            )
        self.children[child.pid], self.log_ends[child.pid] = child, before
        self.born(port)
        port.daemon_started()
        self.watch(port, child.pid, os.pidfd_open(child.pid))

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "VNICD_RUNTIME_DIR": str(self.paths.root)}

    def prepare(self) -> None:
        """Have a spare daemon, as soon as nothing that is just going on waits for the CPU that it takes."""
        if self.preparing is None:
            self.preparing = asyncio.get_running_loop().call_later(PREPARE_AFTER_S, self._prepare)

    def _prepare(self) -> None:
        self.preparing = None
        try:
            self.spare.prepare(self._environment())
        except OSError as error:
            log.debug("there is no spare daemon: %s", error.strerror)

    def close(self) -> None:
        if self.preparing is not None:
            self.preparing.cancel()
            self.preparing = None
        self.spare.end()

    def _open_log(self, name: str) -> int:
        """Without a log a daemon serves as well; it is handed one as soon as there can be one (log_files.py)."""
        try:
            return logs.open_log(self.paths.log(name))
        except OSError as error:
            what = error.filename or self.paths.log(name)
            log.warning("partition %s has no log for now: %s: %s", name, what, error.strerror)
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def owns(self, port: Port, pid: int) -> bool:
        return pid == port.pid and process.start_time(pid) == port.started

    def has_daemon(self, port: Port) -> bool:
        return port.pidfd >= 0

    async def end(self, port: Port) -> None:
        if port.pidfd < 0:
            return
        pidfd = os.dup(port.pidfd)
        try:
            await asyncio.to_thread(process.end, pidfd, TERM_TIMEOUT_S)
        finally:
            os.close(pidfd)

    def said(self, port: Port) -> str:
        since = self.log_ends.get(port.pid)
        return last_words.in_file(self.paths.log(port.spec.name), since) if since is not None else ""

    def obituary(self, port: Port) -> str:
        child = self.children.get(port.pid)
        if child is None:  # an earlier hosting daemon has started it
            return ""
        exit_code = child.poll()
        return last_words.together(
            last_words.how(exit_code) if exit_code is not None else "", self.said(port)
        )

    def withdraw(self, port: Port) -> None:
        """A child needs nothing that would be left."""

    async def service_stopped(self) -> None:
        """It is no service."""

    async def end_service(self) -> None:
        """Nobody would."""

    def forget(self, port: Port) -> None:
        child = self.children.pop(port.pid, None)
        self.log_ends.pop(port.pid, None)
        super().forget(port)
        if child is not None:
            child.poll()
