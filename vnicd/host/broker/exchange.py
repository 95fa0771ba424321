"""The exchange of the broker's namespaces: the thread that serves it, and what it is told (cext/exchange)."""

from __future__ import annotations

import asyncio
import logging
import resource
import threading
from collections.abc import Iterable

from vnicd.host.broker.namespace import BrokerNamespace
from vnicd.native.exchange import Exchange
from vnicd.native.memory import Region
from vnicd.sockets import abi

log = logging.getLogger(__name__)


class Exchanges:
    """`table` is the memory of the table; an offer waits for `timeout` seconds."""

    def __init__(self, table: Region, timeout: float) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.exchange = Exchange(table, timeout, descriptors // 8, descriptors // 4 * 3)
        self.namespaces: dict[int, BrokerNamespace] = {}
        """By the index of their namespace."""
        self.thread: threading.Thread | None = None
        self.stopping = False

    def open(self, namespace: BrokerNamespace) -> None:
        """Serve its namespace."""
        sockets = namespace.sockets
        if sockets.exchange is None:
            return
        if self.thread is None:
            loop = asyncio.get_running_loop()
            self.thread = threading.Thread(target=self._run, args=(loop,), name="exchange", daemon=True)
            self.thread.start()
        try:
            namespace.exchange = self.exchange.open(
                sockets.exchange.fileno(), sockets.probe.fileno(), sockets.cookie, namespace.number
            )
        except OSError as error:
            log.warning("partition %d has no exchange: %s", namespace.number, error)
            _shut(namespace)
            return
        self.namespaces[namespace.exchange] = namespace

    def settle(self, namespaces: Iterable[BrokerNamespace]) -> None:
        """Follow the addresses and numbers of all namespaces."""
        pairs = []
        for namespace in namespaces:
            if namespace.exchange >= 0:
                self.exchange.renumber(namespace.exchange, namespace.number)
                pairs += [(ip, namespace.exchange) for ip in sorted(namespace.addresses)]
        self.exchange.settle(abi.pack_entries(pairs))

    def close(self, namespace: BrokerNamespace) -> None:
        """Serve its namespace no more; before the namespace's sockets are closed."""
        if namespace.exchange >= 0:
            del self.namespaces[namespace.exchange]
            self.exchange.close(namespace.exchange)
            namespace.exchange = -1

    def stop(self) -> None:
        """When all are closed."""
        self.stopping = True
        if self.thread is not None:
            self.exchange.stop()
            self.thread.join()
            self.thread = None

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self.exchange.run()
        if not self.stopping:
            loop.call_soon_threadsafe(self._lost)

    def _lost(self) -> None:
        """Nobody listens at the exchange any more, so programs learn at once that their connections are plain TCP."""
        log.error("the exchange is gone; there will be no new direct connections")
        for namespace in list(self.namespaces.values()):
            self.close(namespace)
            _shut(namespace)


def _shut(namespace: BrokerNamespace) -> None:
    """Nobody is to wait there; not closed here, as somebody may have sent something that takes its time."""
    if namespace.sockets.exchange is not None:
        namespace.reaper.put([namespace.sockets.exchange.detach()])
        namespace.sockets.exchange = None
