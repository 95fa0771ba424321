"""What a generator believes of the sockets in the program that it writes: enough to choose calls that mean something.

The model need not be right. The kernel's TCP says what is right; where the model errs, a step is only less telling.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.conformance.program import THREADS, Step

CLIENT, SERVER = 0, 1


@dataclass(eq=False)
class Socket:
    """A descriptor of an end: a listener, or one end of a connection."""

    end: int
    slot: int
    nonblock: bool = False
    peer: Socket | None = None
    unread: int = 0
    told_end: bool = False
    """The peer has shut its sending side, or has gone."""
    shut_send: bool = False
    shut_receive: bool = False
    broken: bool = False
    family: int = 2
    timeout: bool = False
    """It has SO_RCVTIMEO, so a blocking receive ends by itself."""
    waiting: list[int] = field(default_factory=list)
    """Actors that are blocked until something comes."""

    @property
    def has_something(self) -> bool:
        return self.unread > 0 or self.told_end or self.shut_receive or self.broken or self.nonblock


@dataclass
class Model:
    """Both ends, and the steps so far."""

    random: Random
    steps: list[Step] = field(default_factory=list)
    listeners: list[Socket] = field(default_factory=list)
    connected: list[Socket] = field(default_factory=list)
    """Ends of connections that are open."""
    others: list[Socket] = field(default_factory=list)
    """Descriptors of other kinds, and copies."""
    epolls: list[Socket] = field(default_factory=list)
    used: list[set[int]] = field(default_factory=lambda: [set(), set()])
    busy: set[int] = field(default_factory=set)
    processes: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)

    def add(self, actor: int, op: str, *args: int, timed: bool = False) -> None:
        self.steps.append(Step(actor, op, args, timed))

    def poll(self, actor: int, timeout: int, how: int, slot: int, events: int) -> None:
        """A poll of one descriptor."""
        self.add(actor, "poll", timeout, how, slot, events, -1, 0, -1, 0)

    def actor(self, end: int) -> int:
        """A thread or process of this end that is free; mostly the first."""
        first = end * 5
        free = [first + number for number in range(THREADS) if first + number not in self.busy | self.gone]
        free += [
            actor for actor in self.processes if actor // 5 == end and actor not in self.busy | self.gone
        ]
        if not free:
            return first
        return free[0] if self.random.random() < 0.6 else self.random.choice(free)

    def slot(self, end: int) -> int:
        """A place for a new descriptor: one that was not used, as long as there are such."""
        unused = [slot for slot in range(16) if slot not in self.used[end]]
        slot = unused[0] if unused else self.random.randrange(16)
        self.used[end].add(slot)
        return slot

    def connection(self) -> Socket | None:
        return self.random.choice(self.connected) if self.connected else None

    def any_slot(self, end: int) -> int:
        """A descriptor of this end, rarely one that was never made."""
        mine = [
            sock.slot
            for sock in self.connected + self.listeners + self.others + self.epolls
            if sock.end == end
        ]
        return self.random.choice(mine) if mine and self.random.random() < 0.95 else self.random.randrange(16)

    def link(self, client: Socket, server: Socket) -> None:
        client.peer, server.peer = server, client
        self.connected += [client, server]

    def block(self, actor: int, sock: Socket) -> None:
        self.busy.add(actor)
        sock.waiting.append(actor)

    def wake(self, sock: Socket) -> None:
        self.busy -= set(sock.waiting)
        sock.waiting.clear()

    def sent(self, sock: Socket, count: int) -> None:
        peer = sock.peer
        if peer and not sock.shut_send and not sock.broken:
            peer.unread += count
            self.wake(peer)

    def received(self, sock: Socket, count: int) -> None:
        sock.unread = max(0, sock.unread - count)

    def ended(self, sock: Socket) -> None:
        """The sending side of `sock` is over."""
        sock.shut_send = True
        if sock.peer:
            sock.peer.told_end = True
            self.wake(sock.peer)

    def closed(self, sock: Socket) -> None:
        self.ended(sock)
        if sock.peer and sock.unread:
            sock.peer.broken = True
        if sock in self.connected:
            self.connected.remove(sock)

    def end_gone(self, end: int) -> None:
        """The first process of an end has gone."""
        self.gone |= {end * 5 + number for number in range(THREADS)}
        if not any(actor // 5 == end for actor in self.processes):
            for sock in [sock for sock in self.connected if sock.end == end]:
                self.closed(sock)
