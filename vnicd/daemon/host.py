"""The hosting daemon: one for each fabric; its life, and the methods that it answers to."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import resource
import signal
from typing import Any

from vnicd import __version__, memory
from vnicd.config import Options, Paths
from vnicd.daemon import report
from vnicd.daemon.fabric import Fabric, remove_files
from vnicd.daemon.server import Server
from vnicd.errors import AlreadyRunning, Invalid, NoHugepages, NotPermitted, Resources, VnicdError
from vnicd.model import make_partition

log = logging.getLogger(__name__)

SPEC_FIELDS = {"name", "addresses", "mac", "mtu", "ifname", "netns"}


class Host:
    def __init__(self, paths: Paths, options: Options) -> None:
        self.fabric = Fabric(paths, options)
        self.paths = paths
        self.options = options
        self.done = asyncio.Event()
        self.server = Server(
            {
                "fabric.ping": self._ping,
                "fabric.down": self._down,
                "status": self._status,
                "links": self._links,
                "stats": self._stats,
                "partition.add": self._add,
                "partition.remove": self._remove,
                "partition.list": self._list,
                "partition.show": self._show,
            }
        )

    async def run(self, take_down: bool) -> None:
        """Serve until stopped; with `take_down` only find what is left of a fabric and remove it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.done.set)
        try:
            self.fabric.claim_limits()
            self._check_hugepages()
            if not take_down:
                self.paths.control.unlink(missing_ok=True)
                await self.server.listen(str(self.paths.control))
                self.paths.control.chmod(0o660)
            await self.fabric.start(revive=not take_down)
            log.info("ready")
            if take_down:
                await self.fabric.take_down()
            else:
                await self.done.wait()
        finally:
            self.server.close()
            await self.fabric.stop()

    def _check_hugepages(self) -> None:
        if self.options.hugepages == "require" and not memory.huge_pages_available():
            raise NoHugepages(
                "no 2 MiB hugepage can be had", "see vnicctl doctor, or use: vnicctl up --hugepages auto"
            )

    # -------------------------------------------------------------------------------------- methods

    async def _ping(self, params: dict[str, Any]) -> Any:
        starting = [port.spec.name for port in self.fabric.ports if port.state == "starting"]
        return {"ready": self.fabric.ready, "pid": os.getpid(), "version": __version__, "starting": starting}

    async def _down(self, params: dict[str, Any]) -> Any:
        await self.fabric.take_down()
        asyncio.get_running_loop().call_later(0.01, self.done.set)
        return {}

    async def _status(self, params: dict[str, Any]) -> Any:
        return report.status(self.fabric)

    async def _links(self, params: dict[str, Any]) -> Any:
        return report.links(self.fabric)

    async def _stats(self, params: dict[str, Any]) -> Any:
        return report.stats(self.fabric, params.get("name"))

    async def _add(self, params: dict[str, Any]) -> Any:
        unknown = set(params) - SPEC_FIELDS
        if unknown:
            raise Invalid(f"a partition has no {', '.join(sorted(unknown))}")
        return (await self.fabric.add(make_partition(**{"name": None, **params}))).to_json()

    async def _remove(self, params: dict[str, Any]) -> Any:
        await self.fabric.remove(self.fabric.ports.get(params.get("name")))
        return {}

    async def _list(self, params: dict[str, Any]) -> Any:
        return {"partitions": [port.to_json() for port in self.fabric.ports]}

    async def _show(self, params: dict[str, Any]) -> Any:
        return self.fabric.ports.get(params.get("name")).to_json()


def lock(paths: Paths) -> int:
    """The fd that makes us the one hosting daemon of this fabric; AlreadyRunning when there is another."""
    try:
        paths.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(paths.host_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Resources(f"the runtime directory {paths.root} can't be used: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise AlreadyRunning(f"a hosting daemon runs already in {paths.root}") from error
    return fd


def main(options: Options, take_down: bool = False) -> None:
    """Run the hosting daemon of the fabric in VNICD_RUNTIME_DIR; VnicdError when it can't start."""
    if os.geteuid() != 0:
        raise NotPermitted("the hosting daemon needs root")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.umask(0o022)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    paths = Paths.from_environment()
    fd = lock(paths)
    os.chdir("/")
    try:
        asyncio.run(_run(paths, options, take_down))
    except VnicdError:
        _leave_nothing(paths)
        raise
    except OSError as error:
        _leave_nothing(paths)
        raise Resources(f"the hosting daemon can't go on: {error}") from error
    finally:
        os.close(fd)


def _leave_nothing(paths: Paths) -> None:
    """A start that failed leaves no files, unless they are of an earlier hosting daemon."""
    if not paths.state.exists():
        remove_files(paths)


async def _run(paths: Paths, options: Options, take_down: bool) -> None:
    await Host(paths, options).run(take_down)
