"""Partitions in namespaces of somebody else, which end when those do.

Theory of operation. A namespace lives as long as a process is in it, a mount names it, or a descriptor holds it. Its
partition is not to be the last that does. The TAP does not hold it (kernel/tap.py), but the sockets do that the
hosting daemon has in it. So each such namespace has a *witness*: a process that is in it, watched by a pidfd. When
the witness ends, or the mounts of the machine change, or from time to time, we look who is left. With no process and
no name the namespace is vacant, and everything of ours in it is closed. If that was the last, the kernel ends it with
its interface; the partition daemon tells of the interface, and the reconciler finds no namespace to make it anew in.
If somebody holds the namespace by a descriptor alone, the partition goes on without direct sockets, until a process is
there again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vnicd.host.partitions.attached import tenants
from vnicd.host.ports.port import Port, Ports, PortState
from vnicd.kernel import netns, tap
from vnicd.kernel.netns import Identity
from vnicd.process.ticks import until_tick

log = logging.getLogger(__name__)

SETTLE = 0.05
"""Seconds that news are gathered before they are looked at together: a container's end comes as many."""


@dataclass
class Witness:
    """A process that is in a namespace; without one (pid 0) only a name keeps it."""

    pid: int
    pidfd: int


class Attachments:
    """`changed()` is called when a namespace became vacant or is so no more, `lost(port)` when an interface is gone."""

    def __init__(
        self,
        ports: Ports,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        changed: Callable[[], object],
        lost: Callable[[Port], None],
    ) -> None:
        self.ports = ports
        self.spawn = spawn
        self.changed = changed
        self.lost = lost
        self.witnesses: dict[Identity, Witness] = {}
        self.news = asyncio.Event()
        self.mounts: select.epoll | None = None
        """Readable when a mount comes or goes."""
        self.table = -1

    def start(self) -> None:
        self.spawn(self._watch())

    def stop(self) -> None:
        for where in list(self.witnesses):
            self._dismiss(where)
        if self.mounts is not None:
            asyncio.get_running_loop().remove_reader(self.mounts)
            self.mounts.close()
            os.close(self.table)
            self.mounts = None

    def look_soon(self) -> None:
        """A partition came or went."""
        self.news.set()

    async def _watch(self) -> None:
        while True:
            # asyncio.wait_for would swallow a cancellation that comes together with news.
            with suppress(TimeoutError):
                async with asyncio.timeout(until_tick()):
                    await self.news.wait()
                await asyncio.sleep(SETTLE)
            self.news.clear()
            with suppress(OSError, RuntimeError):  # no descriptor or thread: the next look makes up for it
                await self._look()

    async def _look(self) -> None:
        attached = [port for port in self.ports if port.is_member and port.home is not None]
        wanted = {port.home.identity for port in attached if port.home is not None}
        for where in self.witnesses.keys() - wanted:
            self._dismiss(where)
        if not wanted:
            return
        self._watch_mounts()
        unknown = {where for where in wanted if not self._is_witnessed(where)}
        found = await asyncio.to_thread(tenants.look, unknown) if unknown else {}
        for where, tenancy in found.items():
            self._dismiss(where)
            if tenancy.pid:
                self._engage(where, tenancy.pid)
        self._settle(attached, {where for where, tenancy in found.items() if tenancy.is_vacant})

    def _settle(self, attached: list[Port], vacant: set[Identity]) -> None:
        is_new = False
        for port in attached:
            if not port.is_member or port.home is None:
                continue
            is_vacant = port.home.identity in vacant
            if port.is_vacant != is_vacant:
                port.found_vacant(is_vacant)
                is_new = True
            if port.state is PortState.UP and port.tap >= 0 and not tap.is_alive(port.tap):
                self.lost(port)
        if is_new:
            self.changed()

    def _is_witnessed(self, where: Identity) -> bool:
        witness = self.witnesses.get(where)
        return witness is not None and tenants.whereabouts(witness.pid) == where

    def _engage(self, where: Identity, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self.news.set()  # it has just ended: look again
            return
        self.witnesses[where] = Witness(pid, pidfd)
        asyncio.get_running_loop().add_reader(pidfd, self._ended, where)

    def _ended(self, where: Identity) -> None:
        self._dismiss(where)
        self.news.set()

    def _dismiss(self, where: Identity) -> None:
        witness = self.witnesses.pop(where, None)
        if witness is not None:
            asyncio.get_running_loop().remove_reader(witness.pidfd)
            os.close(witness.pidfd)

    def _watch_mounts(self) -> None:
        """The kernel tells of a changed table by an exceptional condition, for which asyncio has no word."""
        if self.mounts is not None:
            return
        table = os.open(netns.mount_table(), os.O_RDONLY | os.O_CLOEXEC)
        try:
            mounts = select.epoll()
            mounts.register(table, select.EPOLLPRI)
        except OSError:
            os.close(table)
            raise
        self.table, self.mounts = table, mounts
        asyncio.get_running_loop().add_reader(mounts, self._mounts_changed)

    def _mounts_changed(self) -> None:
        if self.mounts is not None:
            self.mounts.poll(0)
            self.news.set()
