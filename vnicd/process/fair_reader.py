"""Reads for crowds of strangers: the event loop serves so many of their sockets in one turn, whoever has how many.

The event loop calls back for each socket that is readable before it does anything else, so who opens thousands of
connections and asks on all of them would keep it for as long. Here they are in an epoll of their partition, and that is
in one of all partitions: a turn takes what is due in both, at most READS_A_TURN in all.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

READS_A_TURN = 16
"""Sockets that are read in a turn of the event loop; a request takes some 0.1 ms."""


class FairReader:
    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.crowds: dict[int, Crowd] = {}
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self.epoll, self._serve)

    def crowd(self) -> Crowd:
        """Sockets that share a turn with those of others; OSError when there is no descriptor for it."""
        crowd = Crowd(self)
        self.crowds[crowd.epoll.fileno()] = crowd
        self.epoll.register(crowd.epoll, select.EPOLLIN)
        return crowd

    def close(self) -> None:
        self.loop.remove_reader(self.epoll)
        self.epoll.close()

    def _serve(self) -> None:
        ready = self.epoll.poll(0, READS_A_TURN)  # the next time it begins with those that had no turn
        for number, _ in ready:
            if number in self.crowds:
                self.crowds[number].serve(max(1, READS_A_TURN // len(ready)))


class Crowd:
    """The sockets of one partition."""

    def __init__(self, reader: FairReader) -> None:
        self.reader = reader
        self.epoll = select.epoll()
        self.callbacks: dict[int, Callable[[], None]] = {}

    def add(self, number: int, callback: Callable[[], None]) -> None:
        """Call back when this descriptor is readable; OSError when the kernel refuses it."""
        self.epoll.register(number, select.EPOLLIN)
        self.callbacks[number] = callback

    def remove(self, number: int) -> None:
        """Before it is closed."""
        if self.callbacks.pop(number, None) is not None and not self.epoll.closed:
            self.epoll.unregister(number)

    def close(self) -> None:
        del self.reader.crowds[self.epoll.fileno()]
        if not self.reader.epoll.closed:
            self.reader.epoll.unregister(self.epoll)
        self.epoll.close()

    def serve(self, most: int) -> None:
        for number, _ in self.epoll.poll(0, most):
            if number in self.callbacks:  # and has not ended with one of those before
                self.callbacks[number]()
            if self.epoll.closed:
                return
