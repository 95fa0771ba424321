"""Closes descriptors that strangers have sent: a thread does it, as that can take as long as their owner likes.

A TCP socket that lingers blocks its last close, and so does a Unix socket with such a one in its queue, or a file of
a file system that a program serves. Each partition has a reaper for its programs and one for its daemon, so it can only
hold up itself.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Iterable
from contextlib import suppress

IDLE = 10.0
"""Seconds after which the thread ends if there was nothing for it."""

GATHER = 0.01
"""Seconds that descriptors are gathered: to wake the thread for each costs more than all else that we do with it."""


RETRY = 1.0
"""Seconds until a thread is asked for again."""


class FdReaper:
    def __init__(self) -> None:
        self.gathered: list[int] = []
        self.queue: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.working = False
        self.came, self.went = 0, 0
        """How many in all; each is counted in one thread."""

    @property
    def fill(self) -> int:
        """How many wait to be closed."""
        return self.came - self.went

    def put(self, fds: Iterable[int]) -> None:
        """Have these closed soon; never blocks. In the event loop's thread."""
        before = len(self.gathered)
        self.gathered += fds
        if not before and self.gathered:
            asyncio.get_running_loop().call_later(GATHER, self._empty)
        self.came += len(self.gathered) - before

    def _empty(self) -> None:
        with self.lock:  # held for moments only
            if not self.working:
                try:
                    threading.Thread(target=self._work, name="fd-reaper", daemon=True).start()
                except RuntimeError:  # there are too many threads just now
                    asyncio.get_running_loop().call_later(RETRY, self._empty)
                    return
            self.working = True
            self.queue.put(self.gathered)
            self.gathered = []

    def _work(self) -> None:
        while True:
            try:
                fds = self.queue.get(timeout=IDLE)
            except queue.Empty:
                with self.lock:
                    if self.queue.empty():
                        self.working = False
                        return
                continue
            for fd in fds:
                with suppress(OSError):
                    os.close(fd)
                self.went += 1
