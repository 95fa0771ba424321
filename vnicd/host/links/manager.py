"""The links of a fabric: who has one with whom, and the orders that make and end them. No I/O of its own.

The life of a link, as the hosting daemon sees it (each order goes to both ends):

    request ---> MAKING: "make"  ---> both "made" (memory)  ---> ATTACHING: "attach" (the other's memory, a doorbell)
                 ---> both "attached" ---> UP: "open", from here on both ends write into it
    UP ---> an end says "idle" ---> CLOSING: "close", nobody writes any more ---> both "closed" ---> "drop"
    any state ---> an end dies, says "gone", or does not answer in time ---> "drop" to the other

A fabric of 255 ports has 32,385 pairs, and most of them say little to each other. So a port's first direct links are
on huge pages, and the others on small ones, which take memory as they are used. When one of these moves much, the
pair's next link is on huge pages; to make it again while it is used would have its traffic depend on the hosting
daemon. A port has at most LINKS_OF_PORT of them, and the one that has been quiet for longest is given up for another.

Both ends read a link before any end writes into it, and until it is dropped; so nothing is lost by the change
of the way. cext/datapath/loop/deliver.pxd says how the order of a flow is kept. Each side of a link is memory that
only its own end can write, and the host hands over descriptors that it did not map itself.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from vnicd.process.unix_sockets import refuse_descriptors
from vnicd.protocol.registration import Message

STEP_TIMEOUT = 3.0
"""Seconds that an end has for each step; one that is stopped or hung loses the link, not the fabric."""

FAULT_PAUSE = 2.0
"""Seconds before a pair may try again after a link of theirs has failed; doubles with each failure."""

FAULT_PAUSE_MAX = 300.0

DEATH_PAUSE = 1.0
"""Seconds before a pair may try again when an end says that the other is dead; a registration ends it."""

GIVEN_BACK_PAUSE = 0.25
"""Seconds before a pair may try again when its link was given back after less than that: making one costs both ends."""

MAKING_MOST, MAKING_OF_PORT = 64, 16
"""Direct links that are being made at once, in all and of one port. The traffic of others asks again."""

MOST_IDENT = 1 << 62
"""The largest id of a link; the least is 1."""

LINKS_OF_PORT = 128
"""Direct links of a port. What finds none goes by relay."""

HUGE_FIRST, HUGE_OF_PORT = 4, 32
"""Of these, on huge pages, which take 4 MiB a link: for whatever pair, and for pairs that move much."""

TRIM_PAUSE = 0.5
"""Seconds between two orders to a port to give up a link."""

log = logging.getLogger(__name__)

Pair = tuple[int, int]
Send = Callable[[int, Message, Sequence[int]], None]


class State(Enum):
    MAKING = "making"
    ATTACHING = "attaching"
    UP = "up"
    CLOSING = "closing"


@dataclass
class Link:
    ports: Pair
    ident: int
    state: State
    since: float
    memory: dict[int, int] = field(default_factory=dict)
    """{port: fd of its side}, until both are here."""
    page_sizes: dict[int, int] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    """Ends that have done the present step."""
    adopted: bool = False
    """An end has brought it along."""
    huge: bool = False
    """Its ends were told to make it on huge pages."""

    def other(self, port: int) -> int:
        return self.ports[1] if port == self.ports[0] else self.ports[0]


def pair(a: int, b: int) -> Pair:
    return (a, b) if a < b else (b, a)


class Links:
    """`send(port, message, fds)` gives an order to a port; fds stay ours and are closed after it."""

    def __init__(self, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self.send = send
        self.clock = clock
        self.live: set[int] = set()
        self.links: dict[Pair, Link] = {}
        self.by_id: dict[int, Link] = {}
        self.unfinished: dict[int, Link] = {}
        """Those of by_id that are not up: being made, or being closed."""
        self.pauses: dict[Pair, tuple[float, float]] = {}
        """{pair: (not before, length of the pause)} after failures."""
        self.fast: set[Pair] = set()
        """Pairs whose next link is worth huge pages."""
        self.direct: Counter[int] = Counter()
        """How many direct links each port has."""
        self.huge: Counter[int] = Counter()
        """And how many of them on huge pages."""
        self.trimmed_at: dict[int, float] = {}
        self.on_up: Callable[[Link], None] = lambda link: None
        self.on_making: Callable[[Link], None] = lambda link: None
        self.on_down: Callable[[Link, str], None] = lambda link, reason: None

    # ------------------------------------------------------------------------------------ what ends say

    def port_up(self, port: int, is_new: bool = True) -> None:
        """A daemon has registered; a new one does not wait for what an earlier one did."""
        self.live.add(port)
        if not is_new:
            return
        for key in [key for key in self.pauses if port in key]:
            del self.pauses[key]

    def port_down(self, port: int) -> None:
        """A port's daemon is gone: its peers drop their links to it."""
        self.live.discard(port)
        for link in [link for link in self.links.values() if port in link.ports]:
            self._end(link, f"port {port} is down")
        self.fast = {key for key in self.fast if port not in key}
        self.trimmed_at.pop(port, None)

    def request(self, a: int, b: int) -> None:
        """A link between two ports is wanted; nothing happens if there is one, or there can't be one now."""
        key = pair(a, b)
        if a == b or key in self.links or not {a, b} <= self.live:
            return
        if self.clock() < self.pauses.get(key, (0.0, 0.0))[0]:
            return
        if 0 not in key and (self._is_busy(key) or not self._has_place(key)):
            return
        link = Link(
            key, secrets.randbelow(MOST_IDENT) + 1, State.MAKING, self.clock(), huge=self._may_be_huge(key)
        )
        self._add(link)
        self.on_making(link)
        self._order(link, "make")

    def _is_busy(self, key: Pair) -> bool:
        """Whether as many links are being made as may be: one end may be slow, or hostile, and answer none."""
        making = [link.ports for link in self.unfinished.values() if 0 not in link.ports and not link.adopted]
        return len(making) >= MAKING_MOST or any(
            sum(port in ports for ports in making) >= MAKING_OF_PORT for port in key
        )

    def _may_be_huge(self, key: Pair) -> bool:
        """Whether a new link is to be on huge pages."""
        most = HUGE_OF_PORT if key in self.fast else HUGE_FIRST
        return 0 in key or all(self.huge[port] < most for port in key)

    def _has_place(self, key: Pair) -> bool:
        """Whether both ends may have one more; one that may not is told to give one up, for a later request."""
        full = [port for port in key if self.direct[port] >= LINKS_OF_PORT]
        for port in full:
            if self.clock() - self.trimmed_at.get(port, 0.0) >= TRIM_PAUSE:
                self.trimmed_at[port] = self.clock()
                self.send(port, {"op": "trim"}, ())
        return not full

    def want(self, a: int, b: int) -> None:
        """Traffic of `a` asks for a link to `b`: it gets one as soon as the relays of both are up.

        Only then does the mark that orders what went by relay before what goes by the link find its way, and only
        then does the receiver wait for it (cext/datapath/loop/deliver.pxd).
        """
        relays = [self.links.get(pair(0, port)) for port in (a, b)]
        if all(relay is not None and relay.state is State.UP for relay in relays):
            self.request(a, b)

    def adopt(self, port: int, peer: int, ident: int) -> None:
        """A registering port says that it has this link already: the host was restarted under it."""
        if not 0 < ident <= MOST_IDENT:
            return  # none that was ever made
        key = pair(port, peer)
        link = self.links.get(key)
        if link is None and ident not in self.by_id and port != peer:
            link = Link(key, ident, State.ATTACHING, self.clock(), adopted=True)
            self._add(link)
        if link is not None and link.ident == ident and link.state in (State.MAKING, State.UP):
            self._end(link, f"port {port} has lost track of it")
        elif link is None or link.ident != ident or link.state is not State.ATTACHING:
            self.send(port, {"op": "drop", "link_id": ident, "peer": peer}, ())
        else:
            self._answer(link, port)

    def made(self, port: int, ident: int, fd: int, page_size: int) -> None:
        """An end has made its side of the memory; the fd is ours from now on."""
        link = self._expected(port, ident, State.MAKING)
        if link is None or port in link.memory:
            os.close(fd)
            return
        link.memory[port] = fd
        link.page_sizes[port] = page_size
        if len(link.memory) == 2:
            self._exchange(link)

    def attached(self, port: int, ident: int, error: str) -> None:
        link = self._expected(port, ident, State.ATTACHING)
        if link is None:
            return
        if error:
            self.failed(port, ident)
        else:
            self._answer(link, port)

    def idle(self, port: int, ident: int) -> None:
        link = self._expected(port, ident, State.UP)
        if link is not None and 0 not in link.ports:
            if self.clock() - link.since < GIVEN_BACK_PAUSE:
                self._pause(link, GIVEN_BACK_PAUSE)
            self._step(link, State.CLOSING)
            self._order(link, "close")

    def promote(self, port: int, ident: int) -> None:
        """A link moves so much that the next one of the pair is to be on huge pages."""
        link = self._expected(port, ident, State.UP)
        if link is not None and 0 not in link.ports:
            self.fast.add(link.ports)

    def closed(self, port: int, ident: int) -> None:
        link = self._expected(port, ident, State.CLOSING)
        if link is not None:
            link.answered.add(port)
            if len(link.answered) == 2:
                self._end(link, "given back")

    def failed(self, port: int, ident: int, fault: bool = True) -> None:
        """A link can't be made or was dropped by an end; after a fault the pair has to wait before the next."""
        link = self.by_id.get(ident)
        if link is None or port not in link.ports:
            return
        if fault:
            lasted = link.state is State.UP and self.clock() - link.since > FAULT_PAUSE_MAX
            last = 0.0 if lasted else self.pauses.get(link.ports, (0.0, 0.0))[1]
            length = min(max(FAULT_PAUSE, 2 * last), FAULT_PAUSE_MAX)
            self.pauses[link.ports] = (self.clock() + length, length)
        else:
            self._pause(link, DEATH_PAUSE)
        self._end(link, f"port {port} says: {'fault' if fault else 'dead'}")

    def _pause(self, link: Link, seconds: float) -> None:
        """Have a pair wait without a fault, which makes later pauses no longer."""
        length = self.pauses.get(link.ports, (0.0, 0.0))[1]
        self.pauses[link.ports] = (self.clock() + seconds, length)

    def sweep(self) -> list[Pair]:
        """End the links whose ends do not answer; the pairs that it hit. Slowness is no fault: no longer pauses."""
        late = [link for link in self.unfinished.values() if self.clock() - link.since > STEP_TIMEOUT]
        for link in late:
            self.pauses[link.ports] = (self.clock() + FAULT_PAUSE, 0.0)
            self._end(link, "not finished in time")
        return [link.ports for link in late]

    # ------------------------------------------------------------------------------------------- inside

    def _add(self, link: Link) -> None:
        self.links[link.ports] = link
        self.by_id[link.ident] = self.unfinished[link.ident] = link
        if 0 not in link.ports:
            self.direct.update(link.ports)
            self.huge.update(link.ports if link.huge else ())

    def _expected(self, port: int, ident: int, state: State) -> Link | None:
        link = self.by_id.get(ident)
        return link if link is not None and port in link.ports and link.state is state else None

    def _step(self, link: Link, state: State) -> None:
        link.state, link.since = state, self.clock()
        link.answered.clear()
        if state is State.UP:
            del self.unfinished[link.ident]
        else:
            self.unfinished[link.ident] = link

    def _order(self, link: Link, op: str) -> None:
        for port in link.ports:
            message: Message = {"op": op, "link_id": link.ident, "peer": link.other(port)}
            if op == "make":
                message["huge"] = link.huge
            self.send(port, message, ())

    def _exchange(self, link: Link) -> None:
        """Give each end the other's memory and one end of a new doorbell."""
        try:
            doorbells = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            self.failed(link.ports[0], link.ident)
            log.warning("ports %d and %d can't have a link: %s", *link.ports, error.strerror)
            return
        self._step(link, State.ATTACHING)
        for doorbell in doorbells:
            refuse_descriptors(doorbell)
        for port, doorbell in zip(link.ports, doorbells, strict=True):
            message = {"op": "attach", "link_id": link.ident, "peer": link.other(port)}
            self.send(port, message, [link.memory[link.other(port)], doorbell.fileno()])
        for doorbell in doorbells:
            doorbell.close()
        self._close_memory(link)

    def _answer(self, link: Link, port: int) -> None:
        link.answered.add(port)
        if len(link.answered) == 2 and link.state is State.ATTACHING:
            self._step(link, State.UP)
            self._order(link, "open")
            self.on_up(link)

    def _end(self, link: Link, reason: str) -> None:
        del self.links[link.ports]
        del self.by_id[link.ident]
        self.unfinished.pop(link.ident, None)
        if 0 not in link.ports:
            self.direct.subtract(link.ports)
            self.huge.subtract(link.ports if link.huge else ())
        self._close_memory(link)
        for port in link.ports:
            if port in self.live:
                self.send(port, {"op": "drop", "link_id": link.ident, "peer": link.other(port)}, ())
        self.on_down(link, reason)

    def _close_memory(self, link: Link) -> None:
        for fd in link.memory.values():
            os.close(fd)
        link.memory.clear()
