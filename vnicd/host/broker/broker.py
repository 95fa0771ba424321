"""The broker of direct sockets: serves the namespaces of the partitions, and shares the table of their addresses.

Theory of operation. In each partition's namespace it listens at an abstract name, so whoever connects is in that
partition and speaks for it. Programs get the table here (HELLO) and tell of their listeners (LISTEN). Whether a
connection can be direct is asked at the resolver (resolver.py), and the ends of connections are brought together by
the exchange (exchange.py): both have a name of their own in each namespace and a native thread that answers there.

Programs are strangers. Each request is judged by itself, is answered at once or the program has to go, and costs its
partition alone: places and the closing of its descriptors (fd_reaper.py) are counted by partition.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Mapping

from vnicd.errors import NoNamespace
from vnicd.host.broker.client_session import ClientSession
from vnicd.host.broker.exchange import Exchanges
from vnicd.host.broker.namespace import BrokerNamespace, Kernel, Place
from vnicd.host.broker.presence import PresenceNames, has_listener
from vnicd.host.broker.resolver import ACCEPT_PAUSE_S, MAX_WASTE, Resolvers
from vnicd.kernel import netns
from vnicd.kernel.netns import Identity
from vnicd.kernel.sockets import broker_sockets
from vnicd.native import table
from vnicd.process.fair_reader import FairReader
from vnicd.sockets import abi
from vnicd.sockets.abi import Op, Reason, Reply, Request

log = logging.getLogger(__name__)

ELSEWHERE = "another network has them in its namespace"

MAX_VISITORS = 4096
"""Programs of one namespace that are connected at a time."""

ACCEPT_AT_ONCE = 32

OFFER_TIMEOUT_S = 600.0
"""How long an offer waits to be taken. If the server accepts later, a quiet client's bytes are lost."""

Served = dict[Identity, dict[int, tuple[str, ...]]]
"""The addresses of each partition, by the namespace that it is in."""


class Broker:
    """`update` tells it the partitions; nothing is served before, nor after `close`."""

    def __init__(self, kernel: Kernel, name: str = abi.BROKER_NAME, timeout: float = OFFER_TIMEOUT_S) -> None:
        self.kernel = kernel
        self.name = name
        self.table = table.Writer()
        self.resolvers = Resolvers(self.table.region.fd)
        self.exchanges = Exchanges(self.table.region, timeout)
        self.namespaces: dict[Identity, BrokerNamespace] = {}
        """By what tells their namespaces."""
        self.presence = PresenceNames(kernel, self.namespaces)
        self.by_ip: dict[bytes, BrokerNamespace] = {}
        self.entries = b""
        self.served: Served = {}
        """What the last update was told."""
        self.refused: dict[Identity, tuple[int, str]] = {}
        """Namespaces where we could not begin, each with a partition's number, and why, which was said once."""
        self.closed = False
        self.reader: FairReader | None = None
        self.methods: dict[int, Callable[[ClientSession, Request, list[int]], bool]] = {
            Op.HELLO: self._hello, Op.LISTEN: self._listen,
        }  # fmt: skip

    # ----------------------------------------------------------------------------------- partitions

    async def update(self, places: Mapping[int, Place]) -> None:
        """Serve these partitions from now on, and no others; one call at a time."""
        found = _by_namespace(places)
        for where in self.namespaces.keys() - found:
            self._end(self.namespaces.pop(where))
        self.refused = {where: told for where, told in self.refused.items() if where in found}
        for where, here in found.items():
            if where not in self.namespaces and not self.closed:
                await self._begin(where, here)
            if where in self.namespaces:
                self._settle(self.namespaces[where], here)
        self._write()
        await self.presence.tell()
        self.served = _addresses(found)

    def is_up_to_date(self, found: Served) -> bool:
        """Whether an update would change nothing if this is what there is, and has nothing to try again."""
        return self.presence.whole and not self.refused and found == self.served

    async def _begin(self, where: Identity, here: dict[int, Place]) -> None:
        number = min(here)
        path = here[number].netns
        try:
            sockets = await self.kernel(lambda: broker_sockets.equip(path, self.name))
        except (OSError, NoNamespace) as error:
            is_elsewhere = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = ELSEWHERE if is_elsewhere else str(error)
            if where not in self.refused:
                log.warning("partition %d gets no direct sockets: %s", number, reason)
            self.refused[where] = (number, reason)
            return
        self.refused.pop(where, None)
        if self.closed or sockets.where != where:  # somebody has given the name to another one meanwhile
            sockets.close()
            return
        if self.reader is None:
            self.reader = FairReader()
        namespace = self.namespaces[where] = BrokerNamespace(sockets, number, self.reader.crowd())
        self.resolvers.open(namespace)
        self.exchanges.open(namespace)
        loop = asyncio.get_running_loop()
        loop.add_reader(sockets.listener, self._accept, namespace)
        for watch in sockets.watches:
            loop.add_reader(watch, self._news, watch)

    def _settle(self, namespace: BrokerNamespace, here: dict[int, Place]) -> None:
        namespace.numbers = {
            number: {abi.packed(text) for text in place.addresses} for number, place in here.items()
        }
        namespace.addresses = set().union(*namespace.numbers.values())
        if namespace.number not in here:  # its programs know it by the number that they were told
            for session in list(namespace.sessions):
                session.close()
            namespace.number = min(here)

    def _write(self) -> None:
        self.by_ip = {ip: namespace for namespace in self.namespaces.values() for ip in namespace.addresses}
        pairs = sorted((ip, namespace.number) for ip, namespace in self.by_ip.items())
        entries = abi.pack_entries(pairs[: abi.TABLE_ENTRIES])
        self.presence.addresses = self.by_ip.keys()
        self.resolvers.settle(self.namespaces.values())
        self.exchanges.settle(self.namespaces.values())
        if entries != self.entries:
            self.entries = entries
            self.table.put(entries)

    def _end(self, namespace: BrokerNamespace) -> None:
        loop = asyncio.get_running_loop()
        for sock in (namespace.sockets.listener, *namespace.sockets.watches):
            loop.remove_reader(sock)
        for session in list(namespace.sessions):
            session.close()
        self.resolvers.close(namespace)
        self.exchanges.close(namespace)
        for sock in filter(
            None, (namespace.sockets.listener, namespace.sockets.resolver, namespace.sockets.exchange)
        ):
            if sock.fileno() >= 0:
                namespace.reaper.put([sock.detach()])  # somebody may wait in it who has sent us something
        namespace.sockets.close()
        namespace.crowd.close()

    def close(self) -> None:
        """Serve nobody any more."""
        self.closed = True
        self.presence.close()
        for namespace in self.namespaces.values():
            self._end(namespace)
        self.namespaces.clear()
        if self.reader is not None:
            self.reader.close()
        self.resolvers.stop()
        self.exchanges.stop()

    def _news(self, watch: socket.socket) -> None:
        self.table.bump()
        broker_sockets.drain(watch)

    # ------------------------------------------------------------------------------------- sessions

    def _accept(self, namespace: BrokerNamespace) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            if namespace.reaper.fill > MAX_WASTE:
                self._rest(namespace)
                return
            try:
                sock, _ = namespace.sockets.listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                loop = asyncio.get_running_loop()
                loop.call_exception_handler({"message": "a program can't be taken in", "exception": error})
                self._rest(namespace)
                return
            if len(namespace.sessions) >= MAX_VISITORS:
                namespace.reaper.put([sock.detach()])
                continue
            try:
                namespace.sessions.add(ClientSession(sock, namespace, self._request, self._gone))
            except OSError:  # the kernel watches no more descriptors for us
                namespace.reaper.put([sock.detach()])

    def _rest(self, namespace: BrokerNamespace) -> None:
        """The listener stays readable, and to try again at once would be all that we do."""
        loop = asyncio.get_running_loop()
        listener = namespace.sockets.listener
        loop.remove_reader(listener)

        def again() -> None:
            if listener.fileno() >= 0:
                loop.add_reader(listener, self._accept, namespace)

        loop.call_later(ACCEPT_PAUSE_S, again)

    def _gone(self, session: ClientSession) -> None:
        session.namespace.sessions.discard(session)
        self.presence.look_soon()

    def _request(self, session: ClientSession, data: bytes, fds: list[int]) -> bool:
        """Answer one request; False when the program is to go."""
        try:
            request = abi.parse_request(data)
        except ValueError:
            return False
        if request.version != abi.VERSION:
            return session.answer(Reply(Reason.UNSUPPORTED))
        method = self.methods.get(request.op)
        return method is not None and not session.is_waiting and method(session, request, fds)

    def _hello(self, session: ClientSession, request: Request, fds: list[int]) -> bool:
        return session.answer(Reply(Reason.DIRECT, session.namespace.number), [self.table.region.fd])

    def _listen(self, session: ClientSession, request: Request, fds: list[int]) -> bool:
        namespace, where = session.namespace, request.source
        if not where.port or not has_listener(namespace, where):
            return session.answer(Reply(Reason.UNSUPPORTED))
        if self.presence.add(namespace, where):
            return session.answer(Reply(Reason.DIRECT))

        def answer() -> None:
            session.is_waiting = False
            if not session.answer(Reply(Reason.DIRECT)):
                session.close()

        session.is_waiting = True
        self.presence.tell_soon(answer)
        return True


def _by_namespace(places: Mapping[int, Place]) -> dict[Identity, dict[int, Place]]:
    found: dict[Identity, dict[int, Place]] = {}
    for number, place in sorted(places.items()):
        if (where := netns.identity(place.netns or netns.OWN)) is not None:
            found.setdefault(where, {})[number] = place
    return found


def _addresses(found: Mapping[Identity, Mapping[int, Place]]) -> Served:
    return {
        where: {number: place.addresses for number, place in here.items()} for where, here in found.items()
    }
