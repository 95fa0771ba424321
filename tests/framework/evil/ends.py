"""The ends of an evil daemon's links: they keep their doorbells, and may be read by somebody who takes his time."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from vnicd.config import HugepageMode
from vnicd.link.endpoint import Endpoint, Reply
from vnicd.native import memory
from vnicd.native.loop import Loop
from vnicd.native.testing import ring


class Ends(Endpoint):
    """`doorbells` has a descriptor of each link's doorbell, by peer."""

    instance: Ends

    def __init__(self, port: int, loop: Loop, hugepages: HugepageMode, reply: Reply) -> None:
        super().__init__(port, loop, hugepages, reply)
        Ends.instance = self
        self.doorbells: dict[int, int] = {}
        self.pause = 0.0
        """Seconds between two records that are taken out of a new link; 0 for those that the loop serves."""
        self.makes = 0
        """How many links to other partitions were begun."""

    def sip(self, pause: float) -> None:
        self.pause = pause

    def _make(self, peer: int, link_id: int, fds: list[int], huge: bool) -> None:
        self.makes += peer != 0
        super()._make(peer, link_id, fds, huge)

    def _attach(self, peer: int, link_id: int, fds: list[int]) -> None:
        if len(fds) == 2:
            former, self.doorbells[peer] = self.doorbells.get(peer, -1), os.dup(fds[1])
            if former >= 0:
                os.close(former)
        if peer and self.pause and len(fds) == 2:
            self._read_slowly(peer, link_id, fds)
        else:
            super()._attach(peer, link_id, fds)

    def _read_slowly(self, peer: int, link_id: int, fds: Sequence[int]) -> None:
        """What the loop would do with a link, but for the reading."""
        _, own = self.made.pop(peer)
        consumer = ring.Consumer(own, memory.open_shared(fds[0], memory.LINK_SIZE))

        def read() -> None:
            while not threading.Event().wait(self.pause):
                consumer.read()
                consumer.publish()

        threading.Thread(target=read, daemon=True).start()
        self.reply({"op": "attached", "link_id": link_id, "error": ""}, ())
