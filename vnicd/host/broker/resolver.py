"""The windows of the broker's namespaces: the thread that answers at them, and the closing of what it is done with.

Without it programs ask the broker itself, which takes several times as long (see cext/resolver).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable

from vnicd.host.broker.namespace import Station
from vnicd.native.window import Window
from vnicd.sockets import abi

log = logging.getLogger(__name__)

MAX_WASTE = 4096
"""Descriptors of one namespace that wait to be closed; with more, nobody is taken in there."""

REST = 0.1
"""Seconds without new visitors after one could not be taken in."""


class Windows:
    def __init__(self, table: int) -> None:
        self.window = Window(table)
        self.stations: dict[int, Station] = {}
        """By the index of their window."""
        self.thread: threading.Thread | None = None
        self.stopping = False

    def open(self, station: Station) -> None:
        """Answer in its namespace, if the name was to be had there."""
        listener = station.outfit.window
        if listener is None:
            return
        if self.thread is None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self.window.event_fd, self._news)
            self.thread = threading.Thread(target=self._run, args=(loop,), name="window", daemon=True)
            self.thread.start()
        try:
            probe = station.outfit.probe.fileno()
            station.window = self.window.open(listener.fileno(), probe, station.number)
        except OSError as error:
            log.warning("partition %d has no window: %s", station.number, error)
            _shut(station)
            return
        self.stations[station.window] = station

    def settle(self, stations: Iterable[Station]) -> None:
        """Follow the addresses and numbers of all stations."""
        pairs = []
        for station in stations:
            if station.window >= 0:
                self.window.renumber(station.window, station.number)
            pairs += [(ip, station.window) for ip in sorted(station.addresses) if station.window >= 0]
        self.window.settle(abi.pack_entries(pairs))

    def close(self, station: Station) -> None:
        """Take in nobody any more; before the station's sockets are closed."""
        if station.window >= 0:
            del self.stations[station.window]
            station.reaper.put(self.window.close(station.window))
            station.window = -1

    def stop(self) -> None:
        """When all are closed."""
        self.stopping = True
        if self.thread is not None:
            asyncio.get_running_loop().remove_reader(self.window.event_fd)
            self.window.stop()
            self.thread.join()
            self.thread = None

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self.window.run()
        if not self.stopping:
            loop.call_soon_threadsafe(self._lost)

    def _lost(self) -> None:
        """Programs ask the broker when nobody listens at the window."""
        log.error("the broker's window is gone; programs ask the broker itself")
        for station in list(self.stations.values()):
            self.close(station)
            _shut(station)

    def _news(self) -> None:
        for index, fds, is_paused in self.window.take():
            station = self.stations[index]
            station.reaper.put(fds)
            if not is_paused and station.reaper.fill > MAX_WASTE:
                self.window.pause(index)
            elif is_paused:
                self._rest(station)

    def _rest(self, station: Station) -> None:
        """One timer, however often it is told: what is stuck may be so for long, with news of others all the time."""
        if not station.resting:
            station.resting = True
            asyncio.get_running_loop().call_later(REST, self._resume, station)

    def _resume(self, station: Station) -> None:
        station.resting = False
        if station.window < 0:
            return
        if station.reaper.fill > MAX_WASTE:
            self._rest(station)
        else:
            self.window.resume(station.window)


def _shut(station: Station) -> None:
    """Nobody is to wait there; not closed here, as somebody may have sent something that takes its time."""
    if station.outfit.window is not None:
        station.reaper.put([station.outfit.window.detach()])
        station.outfit.window = None
