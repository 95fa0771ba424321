"""What the broker keeps for each namespace: its sockets, the programs that are connected, the offers that wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from vnicd.daemon.bin import Bin
from vnicd.kernel.direct import Outfit
from vnicd.sockets import Address

if TYPE_CHECKING:
    from vnicd.daemon.visitor import Visitor

T = TypeVar("T")

Key = tuple[Address, Address]
"""Target and source of a connection, as the accepting end's own and far address."""


class Kernel(Protocol):
    """Runs blocking work elsewhere."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


class Place(NamedTuple):
    """A partition: where its namespace is (None for the current one) and the texts of its addresses."""

    netns: str | None
    addresses: tuple[str, ...]


class Offer:
    """One end of a connection, waiting to be asked for; `visitor` has made it, and may be gone since."""

    def __init__(self, visitor: Visitor, station: Station, key: Key, fds: list[int], deadline: float) -> None:
        self.visitor, self.station, self.key, self.fds, self.deadline = visitor, station, key, fds, deadline


class Station:
    """The broker in one namespace, which may have several partitions; it goes by the number of one of them."""

    def __init__(self, outfit: Outfit, number: int) -> None:
        self.outfit = outfit
        self.number = number
        self.window = -1
        """Its index, if it has one."""
        self.resting = False
        """The window takes nobody in until a timer ends."""
        self.numbers: dict[int, set[bytes]] = {}
        """The addresses of each partition."""
        self.addresses: set[bytes] = set()
        self.visitors: set[Visitor] = set()
        self.listeners = outfit.listeners
        """Where its programs listen with the provider, and perhaps some that have ended; None: not known."""
        self.heard: set[Address] = set()
        """Of these we were told since the last look for all of them."""
        self.offers: dict[Key, Offer] = {}
        """Those made to its programs, the oldest first."""
        self.made = 0
        """How many of its programs' offers wait, those of programs that have ended with them."""
        self.bin = Bin()
