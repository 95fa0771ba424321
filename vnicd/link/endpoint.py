"""One end of the links of a port: carries out what the hosting daemon orders, on the loop of this process.

The partition daemon has one behind its socket; the hosting daemon has one of its own for port 0.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from vnicd.config import HugepageMode
from vnicd.kernel.limits.descriptors import has_room
from vnicd.native import memory
from vnicd.native.loop import Loop
from vnicd.protocol.registration import Message, close_all

KEPT_FREE = 8
"""Descriptors that a direct link leaves for the link to the hosting daemon, and for registering anew."""

Reply = Callable[[Message, Sequence[int]], None]


class Endpoint:
    """`reply` sends a message to the hosting daemon; descriptors in it stay ours and may be closed after it."""

    def __init__(self, port: int, loop: Loop, hugepages: HugepageMode, reply: Reply) -> None:
        self.port = port
        self.loop = loop
        self.hugepages = hugepages
        self.reply = reply
        self.made: dict[int, tuple[int, memory.Region]] = {}
        """Our side of links that the peer's side is still awaited for: {peer: (link id, region)}."""
        self.opening: set[int] = set()
        """Ports whose link waits for room for the mark in the relay."""

    def handle(self, message: Message, fds: list[int]) -> bool:
        """Carry out an order; False when it is none of ours. Takes the descriptors over."""
        order = {
            "make": lambda peer, link_id, fds: self._make(peer, link_id, fds, bool(message.get("huge"))),
            "attach": self._attach,
            "open": self._open,
            "close": self._close,
            "drop": self._drop,
        }.get(message["op"])
        if order is None:
            return False
        order(int(message["peer"]), int(message["link_id"]), fds)
        return True

    def tick(self) -> None:
        """Open what could not be opened before."""
        for peer in list(self.opening):
            if self.loop.open(peer):
                self.opening.discard(peer)

    def open_links(self) -> list[tuple[int, int]]:
        """(peer, link id) of the direct links in use."""
        return [
            (peer, self.loop.link_id(peer)) for peer in self.loop.peers() if peer and self.loop.is_open(peer)
        ]

    def host_lost(self) -> None:
        """Without the hosting daemon only links that are open already can go on."""
        for peer in self.loop.peers():
            if peer == 0 or not self.loop.is_open(peer):
                self._forget(peer)
        for _, region in self.made.values():
            region.close()
        self.made.clear()
        self.opening.clear()

    def _make(self, peer: int, link_id: int, fds: list[int], huge: bool) -> None:
        close_all(fds)
        if peer in self.loop.peers():
            self._forget(peer)
        try:
            if self.port and peer and not has_room(KEPT_FREE):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            region = self._region(peer, link_id, huge)
        except OSError as error:
            self.reply({"op": "made", "link_id": link_id, "error": error.strerror or str(error)}, ())
            return
        if peer in self.made:
            self.made.pop(peer)[1].close()
        self.made[peer] = (link_id, region)
        self.reply({"op": "made", "link_id": link_id}, [region.fd])

    def _region(self, peer: int, link_id: int, huge: bool) -> memory.Region:
        """Our side of a link, on huge pages if they are worth it, wanted, and can be had."""
        if self.hugepages == "require" or (huge and self.hugepages != "never"):
            try:
                return memory.create_link(self.port, peer, link_id, True)
            except OSError:
                if self.hugepages == "require":
                    raise
        return memory.create_link(self.port, peer, link_id, False)

    def _attach(self, peer: int, link_id: int, fds: list[int]) -> None:
        error = ""
        made_id, own = self.made.pop(peer, (0, None))
        if own is None or made_id != link_id or len(fds) != 2:
            close_all(fds)
            if own is not None:
                own.close()
            error = "unexpected" if fds or made_id != link_id else os.strerror(errno.EMFILE)
        else:
            doorbell = fds[1]
            try:
                theirs = memory.open_shared(fds[0], memory.LINK_SIZE, populate=False)
                self.loop.attach(peer, link_id, own, theirs, doorbell)
                own.close_fd()
                theirs.close_fd()
            except (ValueError, OSError) as problem:
                own.close()
                os.close(doorbell)
                error = getattr(problem, "strerror", None) or str(problem)
        self.reply({"op": "attached", "link_id": link_id, "error": error}, ())

    def _open(self, peer: int, link_id: int, fds: list[int]) -> None:
        close_all(fds)
        if self.loop.link_id(peer) == link_id and not self.loop.open(peer):
            self.opening.add(peer)

    def _close(self, peer: int, link_id: int, fds: list[int]) -> None:
        close_all(fds)
        if self.loop.link_id(peer) == link_id:
            self.opening.discard(peer)
            self.loop.close(peer)
        self.reply({"op": "closed", "link_id": link_id}, ())

    def _drop(self, peer: int, link_id: int, fds: list[int]) -> None:
        close_all(fds)
        made = self.made.get(peer)
        if made is not None and made[0] == link_id:
            del self.made[peer]
            made[1].close()
        if self.loop.link_id(peer) == link_id:
            self._forget(peer)

    def _forget(self, peer: int) -> None:
        self.opening.discard(peer)
        self.loop.detach(peer)
