"""A bin for descriptors that strangers have sent: a thread closes them, as that can take as long as their owner likes.

A TCP socket that lingers blocks its last close, and so does a Unix socket with such a one in its queue, or a file of
a file system that a program serves. Each partition has a bin of its own and so can only hold up itself.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable
from contextlib import suppress

IDLE = 10.0
"""Seconds after which the thread ends if there was nothing for it."""


class Bin:
    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.working = False

    def put(self, fds: Iterable[int]) -> None:
        """Have these closed soon; never blocks."""
        with self.lock:  # held for moments only
            for fd in fds:
                self.queue.put(fd)
            if self.working or self.queue.empty():
                return
            self.working = True
        threading.Thread(target=self._work, name="bin", daemon=True).start()

    @property
    def fill(self) -> int:
        """How many wait to be closed."""
        return self.queue.qsize()

    def _work(self) -> None:
        while True:
            try:
                fd = self.queue.get(timeout=IDLE)
            except queue.Empty:
                with self.lock:
                    if self.queue.empty():
                        self.working = False
                        return
                continue
            with suppress(OSError):
                os.close(fd)
