"""Reports of ends of links, fast: the table of links and its checks alone, without sockets, memory or time that passes.

Ports 0 to 2 are honest and answer each order. Whatever 3 and 4 say, the links of the honest ones come up and stay.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MethodType, SimpleNamespace
from typing import Any

from tests.framework.descriptors import open_fds
from tests.fuzz.choices import Choices
from tests.fuzz.target import Target, Try
from tests.fuzz.targets.descriptors import all_kinds, some_of
from tests.fuzz.targets.silence import silenced
from vnicd.host.links.manager import MAKING_OF_PORT, Links, State
from vnicd.host.links.relay import HostRelay
from vnicd.host.ports.complaints import Complaints
from vnicd.native import memory
from vnicd.protocol.registration import Message

HONEST, HOSTILE = (0, 1, 2), (3, 4)
PAIRS = [(0, 1), (0, 2), (1, 2)]
OPS = (
    "made",
    "made",
    "made",
    "attached",
    "attached",
    "attached",
    "closed",
    "want",
    "want",
    "idle",
    "gone",
    "other",
)
REFUSED = (KeyError, TypeError, ValueError, OverflowError, OSError)
"""What the registrar takes for a reason to end a connection."""


class _Table:
    def __init__(self, kinds: list[int], side: int) -> None:
        self.kinds, self.side = kinds, side
        self.now = 0.0
        self.links = Links(self.take, lambda: self.now)
        complaints = Complaints(logging.getLogger("vnicd.links"), lambda: self.now)
        self.relay: Any = SimpleNamespace(links=self.links, complaints=complaints)
        self.relay._gone = MethodType(HostRelay._gone, self.relay)
        self.orders: deque[tuple[int, Message]] = deque()
        """To honest ends, not obeyed yet."""
        self.told: list[Message] = [{"op": "make", "link_id": 7, "peer": 1}]
        """To hostile ones."""
        self.fds = open_fds(collect=False)

    def take(self, port: int, message: Message, fds: Sequence[int]) -> None:
        assert len(fds) == (2 if message["op"] == "attach" else 0)
        if port in HONEST:
            self.orders.append((port, message))
        else:
            self.told.append(message)

    def obey(self) -> None:
        """The honest ends do as they are told."""
        while self.orders:
            port, message = self.orders.popleft()
            ident = message["link_id"]
            if message["op"] == "make":
                self.report(port, {"op": "made", "link_id": ident}, [self.side])
            elif message["op"] == "attach":
                self.report(port, {"op": "attached", "link_id": ident, "error": ""}, [])
            elif message["op"] == "close":
                self.report(port, {"op": "closed", "link_id": ident}, [])

    def report(self, port: int, message: Message, fds: Sequence[int]) -> None:
        copies = [os.dup(fd) for fd in fds]
        try:
            HostRelay.take(self.relay, port, message, copies)
        finally:
            for fd in copies:
                os.close(fd)

    def start(self) -> None:
        for port in (*HONEST, *HOSTILE):
            self.links.port_up(port)
            self.links.request(0, port)
            self.obey()
        self.links.want(1, 2)
        self.obey()
        self.before = {each: self.links.links[each] for each in PAIRS}

    def say(self, choices: Choices, port: int) -> None:
        """A report of a hostile end, or that it has died and come back."""
        order = self.told[-1 - choices.below(min(len(self.told), 8))]
        ident = order["link_id"] if not choices.one_in(12) else choices.value(1)
        op = choices.pick(OPS)
        message: Message = {"op": op, "link_id": ident} | {
            "attached": {"error": choices.pick(("", "", "no", choices.value(1)))},
            "want": {"ports": [choices.below(6) for _ in range(choices.below(5))]},
            "idle": {"links": [[choices.below(6), ident] for _ in range(choices.below(3))]},
            "gone": {"peer": choices.below(6), "reason": choices.pick(("dead", "bad_frame"))},
        }.get(op, {})
        if choices.one_in(12):
            message[choices.pick(tuple(message))] = choices.value(2)
        fds = some_of(choices, self.kinds)
        if op == "made" and not choices.one_in(8):
            fds = [self.side]
        if not isinstance(message["op"], str):
            return
        try:
            self.report(port, message, fds)
        except REFUSED:
            if choices.one_in(4):
                self.links.port_down(port)

    def come_back(self, choices: Choices, port: int) -> None:
        """A new connection, which says that it has links."""
        self.links.port_up(port)
        for _ in range(choices.below(3)):
            order = self.told[-1 - choices.below(min(len(self.told), 8))]
            self.links.adopt(
                port, choices.below(5), order["link_id"] if not choices.one_in(4) else choices.number()
            )
        self.links.request(0, port)

    def check(self) -> None:
        links = self.links
        assert {each.ident: each for each in links.links.values()} == links.by_id, (
            "two tables of links differ"
        )
        assert links.unfinished.items() <= links.by_id.items()
        assert all(
            (each.state is State.UP) != (each.ident in links.unfinished) for each in links.links.values()
        )
        making = [each for each in links.unfinished.values() if 0 not in each.ports]
        assert len(making) <= MAKING_OF_PORT * len(HOSTILE)
        assert len(links.pauses) <= 10
        for each in PAIRS:
            assert links.links.get(each) is self.before[each], f"the honest link {each} is another"
            assert self.before[each].state is State.UP

    def end(self) -> None:
        for port in HOSTILE:
            self.links.port_down(port)
        self.obey()
        self.check()
        assert list(self.links.links) == PAIRS, "links of dead ports are left"
        for port in HONEST:
            self.links.port_down(port)
        assert open_fds(collect=False) == self.fds, "a descriptor leaked"


def _attempt(data: bytes, kinds: list[int], side: int) -> int:
    choices = Choices(data)
    table = _Table(kinds, side)
    table.start()
    told = 0
    while choices.more:
        port = choices.pick(HOSTILE)
        if choices.one_in(16):
            table.come_back(choices, port)
        table.say(choices, port)
        told += 1
        if not choices.one_in(4):
            table.obey()
        if choices.one_in(32):
            table.now += choices.below(8)
            table.links.sweep()
        if choices.one_in(8):
            table.check()
    table.end()
    return told


@contextmanager
def _opened() -> Iterator[Try]:
    region = memory.create_link(1, 2, 3, False)
    with all_kinds() as kinds, silenced():
        yield lambda data: _attempt(data, kinds, region.fd)
    region.close()


TARGETS = {"links": Target("reports of ends of links, without sockets", _opened, 2400)}
