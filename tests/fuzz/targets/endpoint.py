"""What the hosting daemon sends to a partition daemon: orders in any order, about any link, with any descriptors.

A partition daemon believes the form of an order, but not that it comes at the right time, nor what is behind a
descriptor: another partition daemon has made that.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.framework.descriptors import open_fds
from tests.fuzz.choices import Choices
from tests.fuzz.target import Target, Try
from tests.fuzz.targets.descriptors import all_kinds, some_of
from vnicd.link.endpoint import Endpoint
from vnicd.native import counters, memory
from vnicd.native.loop import Loop
from vnicd.protocol import registration
from vnicd.protocol.registration import Message

OWN, PEERS, IDENTS = 1, 5, 4
OPS = ("make", "make", "attach", "attach", "attach", "open", "close", "drop", "stop")
REPLIES = {"make": "made", "attach": "attached", "close": "closed"}


def wait_for_doorbells() -> None:
    """Older kernels let anybody put descriptors into one, so threads close them."""
    for thread in threading.enumerate():
        if thread.name == "doorbell":
            thread.join(10)


class _Daemon:
    def __init__(self, kinds: list[int], sides: dict[tuple[int, int], int]) -> None:
        self.kinds, self.sides = kinds, sides
        self.counters = counters.create()
        self.loop = Loop(OWN, self.counters)
        self.endpoint = Endpoint(OWN, self.loop, "never", self.reply)
        self.replies: list[Message] = []
        self.fds = open_fds(collect=False)

    def reply(self, message: Message, fds: Sequence[int]) -> None:
        assert all(os.fstat(fd) for fd in fds), "a descriptor that is sent is closed"
        self.replies.append(message)

    def order(self, choices: Choices) -> None:
        op, peer, ident = choices.pick(OPS), choices.below(PEERS), 1 + choices.below(IDENTS)
        if op == "attach" and not choices.one_in(6):  # the link that it has made its side of
            made = list(self.endpoint.made.items())
            peer, ident = (
                [(port, each) for port, (each, _) in made][choices.below(len(made))]
                if made
                else (peer, ident)
            )
        fds = [os.dup(fd) for fd in some_of(choices, self.kinds)]
        if op == "attach" and not choices.one_in(4):
            registration.close_all(fds)
            fds = self.attached(choices, peer, ident)
        self.replies.clear()
        message: Message = {"op": op, "link_id": ident, "peer": peer}
        if not self.endpoint.handle(message, fds):
            registration.close_all(fds)
        told = [each["op"] for each in self.replies]
        assert told == [REPLIES[op]] if op in REPLIES else not told, f"{told} to {op}"
        self.check(op, peer, ident)

    def attached(self, choices: Choices, peer: int, ident: int) -> list[int]:
        """A doorbell, and the peer's side of a link: of this one, mostly."""
        side = self.sides[peer, ident] if not choices.one_in(4) else choices.pick(list(self.sides.values()))
        ours, theirs = socket.socketpair()
        theirs.close()
        return [os.dup(side), ours.detach()]

    def check(self, op: str, peer: int, ident: int) -> None:
        if op == "drop":
            assert self.loop.link_id(peer) != ident, "a dropped link is there"
        assert set(self.endpoint.made) <= set(range(PEERS)) and self.endpoint.opening <= set(
            self.loop.peers()
        )
        assert OWN not in self.loop.peers()
        wait_for_doorbells()
        expected = self.fds + len(self.endpoint.made) + len(self.loop.peers())
        assert open_fds(collect=False) == expected, f"{open_fds() - expected} descriptors too many"

    def end(self) -> None:
        self.endpoint.host_lost()
        for peer in self.loop.peers():
            self.loop.detach(peer)
        wait_for_doorbells()
        assert open_fds(collect=False) == self.fds, "a descriptor leaked"
        self.counters.close()
        self.endpoint.reply = lambda message, fds: (
            None
        )  # no circle of references keeps the loop's descriptors


def _attempt(data: bytes, kinds: list[int], sides: dict[tuple[int, int], int]) -> int:
    choices = Choices(data)
    daemon = _Daemon(kinds, sides)
    told = 0
    while choices.more:
        daemon.order(choices)
        told += 1
    daemon.end()
    return told


@contextmanager
def _opened() -> Iterator[Try]:
    """All sides of the links that there can be are made once: that takes time."""
    regions = {
        (peer, ident): memory.create_link(peer, OWN, ident, False)
        for peer in range(PEERS)
        for ident in range(1, 1 + IDENTS)
    }
    sides = {key: region.fd for key, region in regions.items()}
    with all_kinds() as kinds:
        yield lambda data: _attempt(data, kinds, sides)
    for region in regions.values():
        region.close()


TARGETS = {"endpoint": Target("orders of the hosting daemon to a partition daemon", _opened, 300)}
