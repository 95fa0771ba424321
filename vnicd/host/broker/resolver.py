"""The resolvers of the broker's namespaces: the thread that answers at them, and the closing of what it is done with.

Without it programs ask the broker itself, which takes several times as long (see cext/resolver).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable

from vnicd.host.broker.namespace import BrokerNamespace
from vnicd.native.resolver import Resolver
from vnicd.sockets import abi

log = logging.getLogger(__name__)

MAX_WASTE = 4096
"""Descriptors of one namespace that wait to be closed; with more, nobody is taken in there."""

ACCEPT_PAUSE_S = 0.1
"""Seconds without new clients after one could not be taken in."""


class Resolvers:
    def __init__(self, table: int) -> None:
        self.resolver = Resolver(table)
        self.namespaces: dict[int, BrokerNamespace] = {}
        """By the index of their resolver."""
        self.thread: threading.Thread | None = None
        self.stopping = False

    def open(self, namespace: BrokerNamespace) -> None:
        """Answer in its namespace, if the name was to be had there."""
        listener = namespace.sockets.resolver
        if listener is None:
            return
        if self.thread is None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self.resolver.event_fd, self._news)
            self.thread = threading.Thread(target=self._run, args=(loop,), name="resolver", daemon=True)
            self.thread.start()
        try:
            probe = namespace.sockets.probe.fileno()
            namespace.resolver = self.resolver.open(listener.fileno(), probe, namespace.number)
        except OSError as error:
            log.warning("partition %d has no resolver: %s", namespace.number, error)
            _shut(namespace)
            return
        self.namespaces[namespace.resolver] = namespace

    def settle(self, namespaces: Iterable[BrokerNamespace]) -> None:
        """Follow the addresses and numbers of all namespaces."""
        pairs = []
        for namespace in namespaces:
            if namespace.resolver >= 0:
                self.resolver.renumber(namespace.resolver, namespace.number)
            pairs += [
                (ip, namespace.resolver) for ip in sorted(namespace.addresses) if namespace.resolver >= 0
            ]
        self.resolver.settle(abi.pack_entries(pairs))

    def close(self, namespace: BrokerNamespace) -> None:
        """Take in nobody any more; before the namespace's sockets are closed."""
        if namespace.resolver >= 0:
            del self.namespaces[namespace.resolver]
            namespace.reaper.put(self.resolver.close(namespace.resolver))
            namespace.resolver = -1

    def stop(self) -> None:
        """When all are closed."""
        self.stopping = True
        if self.thread is not None:
            asyncio.get_running_loop().remove_reader(self.resolver.event_fd)
            self.resolver.stop()
            self.thread.join()
            self.thread = None

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self.resolver.run()
        if not self.stopping:
            loop.call_soon_threadsafe(self._lost)

    def _lost(self) -> None:
        """Programs ask the broker when nobody listens at the resolver."""
        log.error("the broker's resolver is gone; programs ask the broker itself")
        for namespace in list(self.namespaces.values()):
            self.close(namespace)
            _shut(namespace)

    def _news(self) -> None:
        for index, fds, is_paused in self.resolver.take():
            namespace = self.namespaces[index]
            namespace.reaper.put(fds)
            if not is_paused and namespace.reaper.fill > MAX_WASTE:
                self.resolver.pause(index)
            elif is_paused:
                self._rest(namespace)

    def _rest(self, namespace: BrokerNamespace) -> None:
        """One timer, however often it is told: what is stuck may be so for long, with news of others all the time."""
        if not namespace.resting:
            namespace.resting = True
            asyncio.get_running_loop().call_later(ACCEPT_PAUSE_S, self._resume, namespace)

    def _resume(self, namespace: BrokerNamespace) -> None:
        namespace.resting = False
        if namespace.resolver < 0:
            return
        if namespace.reaper.fill > MAX_WASTE:
            self._rest(namespace)
        else:
            self.resolver.resume(namespace.resolver)


def _shut(namespace: BrokerNamespace) -> None:
    """Nobody is to wait there; not closed here, as somebody may have sent something that takes its time."""
    if namespace.sockets.resolver is not None:
        namespace.reaper.put([namespace.sockets.resolver.detach()])
        namespace.sockets.resolver = None
