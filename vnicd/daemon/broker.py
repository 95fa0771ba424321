"""The broker of direct sockets: brings the two ends of a TCP connection between partitions together.

Theory of operation. In each partition's namespace it listens at an abstract name, so whoever connects is in that
partition and speaks for it. A connecting program offers its end - its half of the memory, and a socket - under the
names that the TCP connection will have at both ends, and shows the TCP socket that is bound to its own; the accepting
program asks for what is offered under the names of the TCP socket that it has accepted, and shows that socket. So
nobody makes an offer but who has the port, or gets it but who has the connection. The broker does not make connections
and is not asked to allow them: firewall and routes decide on the TCP connection.

As a TCP connection waits to be accepted after its program has written, closed and ended, so does an offer: what was
written is in the half that we hold. It goes when it is taken or its program says that the connect failed (FORGET),
when the namespace that it was made to is served no more, and in any case after a minute.

Programs are strangers. Each request is judged by itself, is answered at once or the program has to go, and costs its
partition alone: places, offers (with those of programs that have ended) and the closing of its descriptors (bin.py)
are counted by partition.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Mapping

from vnicd import sockets, table
from vnicd.daemon.hints import Hints, has_listener
from vnicd.daemon.station import Kernel, Offer, Place, Station
from vnicd.daemon.visitor import Visitor
from vnicd.daemon.windows import MAX_WASTE, REST, Windows
from vnicd.errors import NoNamespace
from vnicd.kernel import direct
from vnicd.sockets import Op, Reply, Request, Why

log = logging.getLogger(__name__)

MAX_VISITORS = 4096
"""Programs of one namespace that are connected at a time."""

MAX_OFFERS = 4096
"""Offers of one namespace that wait, whether their programs are still there or not."""

ACCEPT_AT_ONCE = 32

PATIENCE = 60.0
"""Seconds that an offer waits to be taken."""

SWEEP = 5.0
"""Seconds between two looks for offers that have waited too long."""


class Broker:
    """`update` tells it the partitions; nothing is served before, nor after `close`."""

    def __init__(self, kernel: Kernel, name: str = sockets.BROKER_NAME, patience: float = PATIENCE) -> None:
        self.kernel = kernel
        self.name = name
        self.patience = patience
        self.table = table.Writer()
        self.windows = Windows(self.table.region.fd)
        self.stations: dict[tuple[int, int], Station] = {}
        """By what tells their namespaces."""
        self.hints = Hints(kernel, self.stations)
        self.by_ip: dict[bytes, Station] = {}
        self.entries = b""
        self.refused: set[tuple[int, int]] = set()
        """Namespaces where we could not begin, which was said once."""
        self.waiting = 0
        self.most_waiting = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8
        self.sweeping: asyncio.TimerHandle | None = None
        self.closed = False
        self.methods: dict[int, Callable[[Visitor, Request, list[int]], bool]] = {
            Op.HELLO: self._hello, Op.LISTEN: self._listen,
            Op.OFFER: self._offer, Op.TAKE: self._take, Op.FORGET: self._forget,
        }  # fmt: skip

    # ----------------------------------------------------------------------------------- partitions

    async def update(self, places: Mapping[int, Place]) -> None:
        """Serve these partitions from now on, and no others; one call at a time."""
        found: dict[tuple[int, int], dict[int, Place]] = {}
        for number, place in sorted(places.items()):
            if (where := direct.identity(place.netns)) is not None:
                found.setdefault(where, {})[number] = place
        for where in self.stations.keys() - found:
            self._end(self.stations.pop(where))
        self.refused &= found.keys()
        for where, here in found.items():
            if where not in self.stations and not self.closed:
                await self._begin(where, here)
            if where in self.stations:
                self._settle(self.stations[where], here)
        self._write()
        await self.hints.tell()

    async def _begin(self, where: tuple[int, int], here: dict[int, Place]) -> None:
        number = min(here)
        path = here[number].netns
        try:
            outfit = await self.kernel(lambda: direct.equip(path, self.name))
        except (OSError, NoNamespace) as error:
            if where not in self.refused:
                log.warning("partition %d gets no direct sockets: %s", number, error)
            self.refused.add(where)
            return
        self.refused.discard(where)
        if self.closed or outfit.where != where:  # somebody has given the name to another one meanwhile
            outfit.close()
            return
        station = self.stations[where] = Station(outfit, number)
        self.windows.open(station)
        loop = asyncio.get_running_loop()
        loop.add_reader(outfit.listener, self._accept, station)
        for watch in outfit.watches:
            loop.add_reader(watch, self._news, watch)

    def _settle(self, station: Station, here: dict[int, Place]) -> None:
        station.numbers = {
            number: {sockets.packed(text) for text in place.addresses} for number, place in here.items()
        }
        station.addresses = set().union(*station.numbers.values())
        if station.number not in here:  # its programs know it by the number that they were told
            for visitor in list(station.visitors):
                visitor.close()
            self.table.set_offers(station.number, 0)
            station.number = min(here)
            self._count(station)

    def _write(self) -> None:
        self.by_ip = {ip: station for station in self.stations.values() for ip in station.addresses}
        pairs = sorted((ip, station.number) for ip, station in self.by_ip.items())
        entries = sockets.pack_entries(pairs[: sockets.TABLE_ENTRIES])
        self.hints.addresses = self.by_ip.keys()
        self.windows.settle(self.stations.values())
        if entries != self.entries:
            self.entries = entries
            self.table.put(entries)

    def _end(self, station: Station) -> None:
        loop = asyncio.get_running_loop()
        for sock in (station.outfit.listener, *station.outfit.watches):
            loop.remove_reader(sock)
        for visitor in list(station.visitors):
            visitor.close()
        for offer in list(station.offers.values()):
            self._withdraw(offer)
        self.windows.close(station)
        for sock in filter(None, (station.outfit.listener, station.outfit.window)):
            if sock.fileno() >= 0:
                station.bin.put([sock.detach()])  # somebody may wait in it who has sent us something
        station.outfit.close()

    def close(self) -> None:
        """Serve nobody any more."""
        self.closed = True
        self.hints.close()
        if self.sweeping is not None:
            self.sweeping.cancel()
        for station in self.stations.values():
            self._end(station)
        self.stations.clear()
        self.windows.stop()

    def _news(self, watch: socket.socket) -> None:
        self.table.bump()
        direct.drain(watch)

    # ------------------------------------------------------------------------------------- visitors

    def _accept(self, station: Station) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            if station.bin.fill > MAX_WASTE:
                self._rest(station)
                return
            try:
                sock, _ = station.outfit.listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                loop = asyncio.get_running_loop()
                loop.call_exception_handler({"message": "a program can't be taken in", "exception": error})
                self._rest(station)
                return
            if len(station.visitors) >= MAX_VISITORS:
                station.bin.put([sock.detach()])
                continue
            station.visitors.add(Visitor(sock, station, self._request, self._gone))

    def _rest(self, station: Station) -> None:
        """The listener stays readable, and to try again at once would be all that we do."""
        loop = asyncio.get_running_loop()
        listener = station.outfit.listener
        loop.remove_reader(listener)

        def again() -> None:
            if listener.fileno() >= 0:
                loop.add_reader(listener, self._accept, station)

        loop.call_later(REST, again)

    def _gone(self, visitor: Visitor) -> None:
        """Its offers stay: the connections may be made already, and wait to be accepted."""
        visitor.station.visitors.discard(visitor)
        self.hints.look_soon()

    def _request(self, visitor: Visitor, data: bytes, fds: list[int]) -> bool:
        """Answer one request; False when the program is to go."""
        try:
            request = sockets.parse_request(data)
        except ValueError:
            return False
        if request.version != sockets.VERSION:
            return visitor.answer(Reply(Why.UNSUPPORTED))
        method = self.methods.get(request.op)
        return method is not None and not visitor.is_waiting and method(visitor, request, fds)

    def _hello(self, visitor: Visitor, request: Request, fds: list[int]) -> bool:
        return visitor.answer(Reply(Why.DIRECT, visitor.station.number), [self.table.region.fd])

    def _listen(self, visitor: Visitor, request: Request, fds: list[int]) -> bool:
        station, where = visitor.station, request.source
        if not where.port or not has_listener(station, where):
            return visitor.answer(Reply(Why.UNSUPPORTED))
        if self.hints.add(station, where):
            return visitor.answer(Reply(Why.DIRECT))

        def answer() -> None:
            visitor.is_waiting = False
            if not visitor.answer(Reply(Why.DIRECT)):
                visitor.close()

        visitor.is_waiting = True
        self.hints.tell_soon(answer)
        return True

    # --------------------------------------------------------------------------------------- offers

    def _offer(self, visitor: Visitor, request: Request, fds: list[int]) -> bool:
        if len(fds) < 3:  # there was no room for them here, or none were sent
            return visitor.answer(Reply(Why.NO_DESCRIPTORS))
        if not direct.is_bell(fds[0]) or not direct.is_half(fds[1]):
            return False
        own = visitor.station
        why, station = self._judge(own, request)
        if station is None:
            return visitor.answer(Reply(why))
        names = direct.tcp_names(fds[2])
        if names is None or names.cookie != own.outfit.cookie or not names.may_become(request.source):
            return False
        key = request.target, request.source
        if key in station.offers:  # of a connection that was not made, or an impostor's
            self._withdraw(station.offers[key])
        deadline = asyncio.get_running_loop().time() + self.patience
        offer = Offer(visitor, station, key, fds[:2], deadline)
        del fds[:2]
        station.offers[key] = offer
        visitor.offers.add(offer)
        own.made += 1
        self.waiting += 1
        self._count(station)
        if self.sweeping is None:
            self._sweep()
        if visitor.answer(Reply(Why.DIRECT)):
            return True
        self._withdraw(offer)  # it has not waited for us, and its connection is plain TCP
        return False

    def _judge(self, own: Station, request: Request) -> tuple[Why, Station | None]:
        """Where an offer goes, if it goes anywhere."""
        source, target = request.source, request.target
        if target.is_loopback or target.ip in own.addresses:
            station = own
            speaks = source.is_loopback or source.ip in own.addresses
        else:
            found = self.by_ip.get(target.ip)
            if found is None:
                return Why.NOT_A_PARTITION, None
            station = found
            speaks = source.ip in own.addresses
        if not speaks:
            return Why.NOT_A_PARTITION, None
        if not source.port or not target.port:
            return Why.UNSUPPORTED, None
        if not direct.is_bound(station.outfit.probe, sockets.listener_names(target)):
            return Why.NO_PROVIDER, None
        if own.made >= MAX_OFFERS or self.waiting >= self.most_waiting:
            return Why.NO_DESCRIPTORS, None
        return Why.DIRECT, station

    def _take(self, visitor: Visitor, request: Request, fds: list[int]) -> bool:
        if not fds:
            return visitor.answer(Reply(Why.NO_DESCRIPTORS))
        names = direct.tcp_names(fds[0])
        if names is None:
            return False
        station = visitor.station
        offer = station.offers.get((request.target, request.source))
        is_own = (names.local, names.remote) == (request.target, request.source)
        if offer is None or not is_own or names.cookie != station.outfit.cookie:
            return visitor.answer(Reply(Why.NO_OFFER))
        self._strike(offer)
        taken = visitor.answer(Reply(Why.DIRECT), offer.fds)
        offer.visitor.bin.put(offer.fds)
        return taken

    def _forget(self, visitor: Visitor, request: Request, fds: list[int]) -> bool:
        key = request.target, request.source
        for offer in [each for each in visitor.offers if each.key == key]:
            self._withdraw(offer)
        return True

    def _withdraw(self, offer: Offer) -> None:
        """The offer waits no more, and what it held is closed."""
        self._strike(offer)
        offer.visitor.bin.put(offer.fds)

    def _strike(self, offer: Offer) -> None:
        """Nobody can find the offer any more."""
        offer.visitor.offers.discard(offer)
        offer.visitor.station.made -= 1
        self.waiting -= 1
        if offer.station.offers.get(offer.key) is offer:
            del offer.station.offers[offer.key]
        self._count(offer.station)

    def _count(self, station: Station) -> None:
        self.table.set_offers(station.number, len(station.offers))

    def _sweep(self) -> None:
        """Withdraw offers that nobody has asked for in time, from time to time while there are any."""
        loop = asyncio.get_running_loop()
        for station in self.stations.values():
            for offer in list(station.offers.values()):
                if offer.deadline > loop.time():
                    break
                self._withdraw(offer)
        pause = min(SWEEP, self.patience)
        self.sweeping = loop.call_later(pause, self._sweep) if self.waiting else None
