"""The exchange of the broker's namespaces: the thread that serves it, and what it is told (cext/exchange)."""

from __future__ import annotations

import asyncio
import logging
import resource
import threading
from collections.abc import Iterable

from vnicd.host.broker.namespace import Station
from vnicd.native.exchange import Exchange
from vnicd.native.memory import Region
from vnicd.sockets import abi

log = logging.getLogger(__name__)


class Exchanges:
    """`table` is the memory of the table; an offer waits for `timeout` seconds."""

    def __init__(self, table: Region, timeout: float) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.exchange = Exchange(table, timeout, descriptors // 8, descriptors // 4 * 3)
        self.stations: dict[int, Station] = {}
        """By the index of their namespace."""
        self.thread: threading.Thread | None = None
        self.stopping = False

    def open(self, station: Station) -> None:
        """Serve its namespace."""
        outfit = station.outfit
        if outfit.exchange is None:
            return
        if self.thread is None:
            loop = asyncio.get_running_loop()
            self.thread = threading.Thread(target=self._run, args=(loop,), name="exchange", daemon=True)
            self.thread.start()
        try:
            station.exchange = self.exchange.open(
                outfit.exchange.fileno(), outfit.probe.fileno(), outfit.cookie, station.number
            )
        except OSError as error:
            log.warning("partition %d has no exchange: %s", station.number, error)
            _shut(station)
            return
        self.stations[station.exchange] = station

    def settle(self, stations: Iterable[Station]) -> None:
        """Follow the addresses and numbers of all stations."""
        pairs = []
        for station in stations:
            if station.exchange >= 0:
                self.exchange.renumber(station.exchange, station.number)
                pairs += [(ip, station.exchange) for ip in sorted(station.addresses)]
        self.exchange.settle(abi.pack_entries(pairs))

    def close(self, station: Station) -> None:
        """Serve its namespace no more; before the station's sockets are closed."""
        if station.exchange >= 0:
            del self.stations[station.exchange]
            self.exchange.close(station.exchange)
            station.exchange = -1

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
        for station in list(self.stations.values()):
            self.close(station)
            _shut(station)


def _shut(station: Station) -> None:
    """Nobody is to wait there; not closed here, as somebody may have sent something that takes its time."""
    if station.outfit.exchange is not None:
        station.reaper.put([station.outfit.exchange.detach()])
        station.outfit.exchange = None
