"""The broker of a fabric: follows its partitions, and tells which connections are direct."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from vnicd.errors import EXHAUSTED
from vnicd.host.broker.broker import Broker, Served
from vnicd.host.broker.namespace import BrokerNamespace, Kernel, Place
from vnicd.host.ports.port import Port, Ports
from vnicd.kernel import tap
from vnicd.kernel.sockets import stream_regions
from vnicd.kernel.sockets.stream_regions import Found
from vnicd.sockets import connections
from vnicd.sockets.connections import Own, Told
from vnicd.spec import container

log = logging.getLogger(__name__)


class BrokerService:
    def __init__(self, ports: Ports, kernel: Kernel) -> None:
        self.ports = ports
        self.broker = Broker(kernel)
        self.thread = ThreadPoolExecutor(1, "stream-regions")
        self.looking: asyncio.Future[Found] | None = None
        self.following = asyncio.Lock()
        self.next: asyncio.Task[None] | None = None
        """That has not begun yet."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.also: list[Callable[[dict[int, Place]], Awaitable[None]]] = []
        """Who else follows the partitions, from the same places."""

    # ------------------------------------------------------------------------------------ partitions

    async def look(self) -> None:
        """Follow the partitions where one has gone elsewhere and nobody has told us."""
        found: Served = {}
        try:
            for port in self._present():
                if (where := tap.whereabouts(port.tap)) is not None:
                    found.setdefault(where, {})[port.number] = port.spec.addresses
        except OSError:
            return  # no descriptors: what is served goes on
        if not self.broker.is_up_to_date(found):
            await self.follow()

    async def follow(self) -> None:
        """Bring the broker in line with the partitions; all who ask before it has begun are served at once."""
        await asyncio.shield(self.follow_soon())

    def follow_soon(self) -> asyncio.Task[None]:
        if self.next is None:
            self.next = asyncio.get_running_loop().create_task(self._follow())
            self.tasks.add(self.next)
            self.next.add_done_callback(self.tasks.discard)
        return self.next

    async def _follow(self) -> None:
        async with self.following:
            self.next = None
            with ExitStack() as stack:
                try:
                    places = self._places(stack)
                    for follow in self.also:
                        await follow(places)
                    await self.broker.update(places)
                except OSError as error:  # no descriptors, no memory: the next look makes up for it
                    log.warning("direct sockets can't follow the partitions: %s", error)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        self.broker.close()
        self.thread.shutdown(wait=False, cancel_futures=True)

    def _places(self, stack: ExitStack) -> dict[int, Place]:
        """The partitions that have their interface, each in the namespace where that is.

        The interface tells it also when the path is gone that a partition was attached by, or leads elsewhere now.
        The paths given here last as long as the stack. OSError when there are no descriptors for them: a partition that
        is left out would be served no more.
        """
        found = {}
        for port in self._present():
            try:
                namespace = tap.namespace(port.tap)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    raise
                continue  # its interface is gone
            stack.callback(os.close, namespace)
            found[port.number] = Place(f"/proc/self/fd/{namespace}", port.spec.addresses)
        return found

    def _present(self) -> Iterator[Port]:
        """The partitions that have their interface, and are to keep it; not in a namespace that we alone would hold."""
        return (port for port in self.ports if port.tap >= 0 and port.is_member and port.has_programs)

    # --------------------------------------------------------------------------------------- telling

    async def list(self) -> dict[str, Any]:
        """The direct connections, and what each program with the preload library has decided."""
        namespaces = dict(self.broker.namespaces)
        found = await self._look(namespaces)

        def partition(pid: int, ip: bytes = b"") -> str:
            namespace = namespaces.get(found.namespaces[pid])
            return self._name(namespace, ip) if namespace else ""

        own = [
            Own(inode, partition(pids[0], found.regions[inode].local.ip), tuple(pids), found.regions[inode])
            for inode, pids in found.holders.items()
        ]
        told = [Told(partition(pid), pid, page) for pid, page in found.processes.items()]
        containers = await self._containers(
            [
                *((each.partition, each.pids[0]) for each in own),
                *((each.partition, each.pid) for each in told),
            ]
        )
        return {
            "connections": connections.pair(own, containers),
            "processes": connections.processes(told, time.monotonic_ns(), containers),
            "truncated": found.truncated,
        }

    async def _containers(self, found: Iterable[tuple[str, int]]) -> dict[str, str]:
        """What the containers of partitions are called, each of which is given with a process in it.

        The owner of a partition tells, or if that is one which does not, the process: Docker's plugins hear no name.
        """
        owners = {port.spec.name: port.spec.owner for port in self.ports}
        named, asked = {}, {}
        for partition, pid in found:
            if owner := owners.get(partition):
                if (name := container.name(owner)) is not None:
                    named[partition] = name
                else:
                    asked[partition] = pid
        if asked:
            loop = asyncio.get_running_loop()
            named |= await loop.run_in_executor(self.thread, _ask_processes, asked)
        return named

    async def _look(self, namespaces: dict[tuple[int, int], BrokerNamespace]) -> Found:
        """What there is right now; all who ask while a look is under way get what it finds."""
        if self.looking is None or self.looking.done():
            loop = asyncio.get_running_loop()
            self.looking = loop.run_in_executor(self.thread, stream_regions.find, namespaces)
        return await asyncio.shield(self.looking)

    def _name(self, namespace: BrokerNamespace, ip: bytes) -> str:
        """The partition of a broker namespace that has an address; of several without it, that which it goes by."""
        here = [
            self.ports.by_number[number] for number in namespace.numbers if number in self.ports.by_number
        ]
        for port in here:
            if ip in namespace.numbers[port.number]:
                return port.spec.name
        return min(here, key=lambda port: port.number != namespace.number).spec.name if here else ""


def _ask_processes(asked: dict[str, int]) -> dict[str, str]:
    found = {}
    for partition, pid in asked.items():
        with suppress(OSError):
            text = Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
            if (name := container.of_cgroup(text)) is not None:
                found[partition] = name
    return found
