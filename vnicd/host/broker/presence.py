"""What programs know without asking: names that the broker binds in each namespace, for addresses and for listeners.

Theory of operation. A name says that something may be direct, and a flag that all such names are there
(presence_names.py): a name too many costs a question, one that is missing below the flag costs a direct connection. A
listener binds a name of its own and then tells the broker (LISTEN), which answers when the port has a name in every
namespace; before that nobody needs to find it. Which listeners there were before the broker, the kernel's table tells.
One that has ended keeps its port's name until some program has gone, or others need the room. When names can't be
bound, or are too many, the flag goes, and programs ask.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping

from vnicd.errors import NoNamespace
from vnicd.host.broker.namespace import BrokerNamespace, Kernel
from vnicd.kernel.sockets import broker_sockets
from vnicd.sockets import abi, presence_names
from vnicd.sockets.abi import Address

MOST_LISTENERS = 64
"""Addresses of one namespace at which programs listen and which are told."""

LOOK_PAUSE_S, LONG_LOOK_PAUSE_S = 0.1, 1.0
"""Seconds between a program's end and the look for listeners that have ended with it; while not all are known, when
it is the kernel's table that is looked at."""


class PresenceNames:
    """`namespaces` are those that are served; `addresses` those of the whole fabric."""

    def __init__(self, kernel: Kernel, namespaces: Mapping[tuple[int, int], BrokerNamespace]) -> None:
        self.kernel = kernel
        self.namespaces = namespaces
        self.addresses: Collection[bytes] = ()
        self.telling = asyncio.Lock()
        self.told: set[int] | None = None
        """Ports that have a name wherever the flag is, and keep it; None: there is no flag."""
        self.whole = False
        """Whether the last tell bound all that it wanted to."""
        self.next: asyncio.Future[None] | None = None
        """Of a tell that has not begun yet: all who ask before are served at once."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.closed = False

    def close(self) -> None:
        """Bind nothing any more; the broker namespaces close what is bound."""
        self.closed = True
        for task in self.tasks:
            task.cancel()
        if self.timer is not None:
            self.timer.cancel()

    # ----------------------------------------------------------------------------------------- names

    async def tell(self) -> None:
        """Bind what is to be bound in all namespaces, and nothing else."""
        async with self.telling:
            waiting, self.next = self.next, None
            ports = self._ports()
            wanted = presence_names.names(self.addresses, ports)
            self.told = set() if ports is None or self.told is None else self.told & ports
            self.whole = False
            try:
                bound = [await self._bind(namespace, wanted) for namespace in list(self.namespaces.values())]
                self.told, self.whole = ports, all(bound)
            finally:
                if waiting is not None:
                    waiting.set_result(None)

    async def _bind(self, namespace: BrokerNamespace, wanted: set[bytes]) -> bool:
        """Whether all that is wanted is bound there."""
        bound = namespace.sockets.presence
        _drop(bound, bound.keys() - wanted)
        missing = wanted - bound.keys()
        if not missing:
            return True
        path = namespace.sockets.path
        try:
            made = await self.kernel(lambda: broker_sockets.presence(path, missing))
        except (OSError, NoNamespace):
            _drop(bound, presence_names.FLAGS)
            return False
        if self.closed or namespace not in self.namespaces.values():
            _drop(made, set(made))
        else:
            bound.update(made)
        return wanted <= bound.keys()

    def _ports(self) -> set[int] | None:
        """Where the preload library listens; None when that is not known of all namespaces."""
        ports: set[int] = set()
        for namespace in self.namespaces.values():
            if namespace.listeners is None:
                return None
            ports.update(each.port for each in namespace.listeners)
        return ports

    # ------------------------------------------------------------------------------------- listeners

    def add(self, namespace: BrokerNamespace, where: Address) -> bool:
        """A listener is there; False when that has yet to be told."""
        _add(namespace, where)
        ports = self._ports()
        if ports is None or len(ports) > presence_names.NAMED_PORTS:
            self.look_soon()  # perhaps many have ended, though no program has
        return ports is None if self.told is None else where.port in self.told

    def tell_soon(self, then: Callable[[], None]) -> None:
        """`then` is called when all that is known by now is told."""
        if self.next is None:
            self.next = asyncio.get_running_loop().create_future()
            self._run(self.tell())
        self.next.add_done_callback(lambda _: then())

    def look_soon(self) -> None:
        """A program has gone: perhaps its listeners have."""
        if self.timer is None and not self.closed:
            rest = LOOK_PAUSE_S if self._ports() is not None else LONG_LOOK_PAUSE_S
            self.timer = asyncio.get_running_loop().call_later(rest, self._look)

    def _look(self) -> None:
        self.timer = None
        self._run(self._look_at_all())

    async def _look_at_all(self) -> None:
        before = self._ports()
        for namespace in list(self.namespaces.values()):
            if namespace.listeners is None:
                await self._find(namespace)
            else:
                namespace.listeners = {each for each in namespace.listeners if has_listener(namespace, each)}
        if self._ports() != before:
            await self.tell()

    async def _find(self, namespace: BrokerNamespace) -> None:
        """All listeners of a namespace, with those that we hear of meanwhile."""
        namespace.heard.clear()
        path = namespace.sockets.path
        found = await self.kernel(lambda: broker_sockets.listeners(path))
        if found is not None:
            _settle(namespace, found | namespace.heard)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def has_listener(namespace: BrokerNamespace, where: Address) -> bool:
    """Whether the name of a listener at just this address is bound."""
    return broker_sockets.is_bound(namespace.sockets.probe, [abi.listener_name(where)])


def _add(namespace: BrokerNamespace, where: Address) -> None:
    """Of too many the most are as good as all: they are not told, and a look finds as many."""
    if len(namespace.heard) <= MOST_LISTENERS:
        namespace.heard.add(where)
    if namespace.listeners is not None:
        _settle(namespace, namespace.listeners | {where})


def _settle(namespace: BrokerNamespace, listeners: set[Address]) -> None:
    namespace.listeners = listeners if len(listeners) <= MOST_LISTENERS else None


def _drop(bound: dict[bytes, socket.socket], names: Iterable[bytes]) -> None:
    """Close sockets, those of the flags first."""
    for name in sorted(names, key=presence_names.FLAGS.__contains__, reverse=True):
        if name in bound:
            bound.pop(name).close()
