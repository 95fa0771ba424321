"""What the broker keeps for each namespace: its sockets, and the programs that are connected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

from vnicd.kernel.sockets.broker_sockets import NamespaceSockets
from vnicd.process.fair_reader import Crowd
from vnicd.process.fd_reaper import FdReaper
from vnicd.sockets.abi import Address

T = TypeVar("T")


class Kernel(Protocol):
    """Runs blocking work elsewhere."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


class Closable(Protocol):
    """A program's connection, as far as the namespace knows it."""

    def close(self) -> None: ...


class Place(NamedTuple):
    """A partition: where its namespace is (None for the current one) and the texts of its addresses."""

    netns: str | None
    addresses: tuple[str, ...]


class BrokerNamespace:
    """The broker in one namespace, which may have several partitions; it goes by the number of one of them."""

    def __init__(self, sockets: NamespaceSockets, number: int, crowd: Crowd) -> None:
        self.sockets = sockets
        self.crowd = crowd
        """Reads its programs."""
        self.number = number
        self.resolver = -1
        """Its index, if it has one."""
        self.exchange = -1
        """The index of the namespace at the exchange, if it has one."""
        self.resting = False
        """The resolver takes nobody in until a timer ends."""
        self.numbers: dict[int, set[bytes]] = {}
        """The addresses of each partition."""
        self.addresses: set[bytes] = set()
        self.sessions: set[Closable] = set()
        self.listeners = sockets.listeners
        """Where its programs listen with the preload library, and perhaps some that have ended; None: not known."""
        self.heard: set[Address] = set()
        """Of these we were told since the last look for all of them."""
        self.reaper = FdReaper()
