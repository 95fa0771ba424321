"""Partition daemons: the honest end of some links, and one that says whatever the choices are."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tests.fuzz.choices import Choices, damaged
from tests.fuzz.targets.descriptors import some_of
from vnicd.link.endpoint import Endpoint
from vnicd.native import counters, memory
from vnicd.native.loop import Loop
from vnicd.protocol import registration
from vnicd.protocol.registration import Message


def connected(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    sock.setblocking(False)
    return sock


class Honest:
    """Obeys orders as a partition daemon does, without frames."""

    def __init__(self, name: str, path: str) -> None:
        self.sock = connected(path)
        self.endpoint: Endpoint | None = None
        registration.send(self.sock, {"op": "hello", "name": name, "generation": 1, "links": []})

    def serve(self) -> None:
        """Obey all that has come."""
        with suppress(BlockingIOError):
            while (got := registration.receive(self.sock)) is not None:
                self._take(*got)

    def _take(self, message: Message, fds: list[int]) -> None:
        if message["op"] == "welcome":
            self.counters = counters.open_shared(fds[2], writable=True)
            self.loop = Loop(message["port"], self.counters)
            self.endpoint = Endpoint(message["port"], self.loop, "never", self._reply)
            registration.close_all([*fds[:2], *fds[3:]])
        elif self.endpoint is not None:
            self.endpoint.handle(message, fds)

    def _reply(self, message: Message, fds: Sequence[int]) -> None:
        registration.send(self.sock, message, fds)

    def has_open(self, peer: int) -> bool:
        return self.endpoint is not None and self.loop.is_open(peer)

    def close(self) -> None:
        self.sock.close()


class Hostile:
    """A connection of a daemon that was taken over; it knows what it was told."""

    def __init__(self, path: str, kinds: list[int], names: Sequence[str]) -> None:
        self.sock = connected(path)
        self.kinds = kinds
        self.names = names
        self.orders: list[Message] = [{"op": "make", "link_id": 7, "peer": 1}]
        self.port = 0
        self.own: list[int] = []
        """The TAP and the counters that it was given."""

    def listen(self) -> None:
        """Learn what was said, and have nothing of it kept but one's own TAP and counters."""
        with suppress(OSError):
            while (got := registration.receive(self.sock)) is not None:
                message, fds = got
                if message["op"] == "welcome" and len(fds) > 1:
                    registration.close_all(self.own)
                    self.port, self.own = message["port"], fds[1:3]
                    fds = [fds[0], *fds[3:]]
                elif "link_id" in message:
                    self.orders.append(message)
                registration.close_all(fds)

    def say(self, choices: Choices) -> None:
        message, fds = self._message(choices)
        made: list[int] = []
        if message["op"] == "made" and choices.one_in(2):
            made = self._side(choices, message.get("link_id"))
        data = json.dumps(message).encode()
        if choices.one_in(24):
            data = damaged(choices, data)
        with suppress(OSError):
            socket.send_fds(self.sock, [data or b"{"], [*made, *fds])
        registration.close_all(made)

    def _side(self, choices: Choices, ident: Any) -> list[int]:
        """Our side of a link, as it is to be, or with a wrong identity in it."""
        peer = next((each["peer"] for each in self.orders if each["link_id"] == ident), 1)
        right = isinstance(ident, int) and 0 <= ident < 1 << 64 and not choices.one_in(4)
        region = memory.create_link(self.port if right else 9, peer, ident if right else 1, False)
        fds = [os.dup(region.fd)]
        region.close()
        return fds

    def _message(self, choices: Choices) -> tuple[Message, list[int]]:
        op = choices.pick(OPS) if self.port or choices.one_in(8) else "hello"
        order = self.orders[-1 - choices.below(len(self.orders))]
        ident = order["link_id"] if not choices.one_in(8) else choices.value(1)
        fds = some_of(choices, self.kinds)
        message: Message = {"op": op, "link_id": ident}
        if op == "hello":
            message |= {
                "name": choices.pick(self.names),
                "generation": choices.number(),
                "links": self._links(choices),
            }
            if len(self.own) == 2 and choices.one_in(2):
                fds = list(self.own)
        elif op == "made" and fds:
            fds = fds[:1]
        message |= {
            "made": {"page_size": choices.pick((4096, choices.value(1)))},
            "attached": {"error": choices.pick(("", "", "", choices.value(1)))},
            "want": {"ports": [choices.below(6) for _ in range(choices.below(5))]},
            "idle": {"links": self._links(choices)},
            "gone": {
                "peer": choices.pick((order["peer"], choices.below(6))),
                "reason": choices.pick(("dead", choices.text())),
            },
        }.get(op, {})
        if choices.one_in(16):
            message[choices.pick(tuple(message))] = choices.value()
        if choices.one_in(24):
            message.pop(choices.pick(tuple(message)))
        return {"op": op, **message}, fds

    def _links(self, choices: Choices) -> list[Any]:
        links = []
        for _ in range(choices.below(4)):
            order = self.orders[-1 - choices.below(len(self.orders))]
            links.append([choices.below(6), order["link_id"]] if not choices.one_in(8) else choices.value(2))
        return links if not choices.one_in(32) else links * 200

    def close(self) -> None:
        self.sock.close()
        registration.close_all(self.own)
        self.own = []


OPS = (
    "hello", "made", "made", "made", "made", "attached", "attached", "attached", "closed", "want", "want", "idle",
    "gone", "tap_gone", "other",
)  # fmt: skip
