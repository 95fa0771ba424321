"""What programs send to the broker, its resolver and its exchange: the real ones, with their threads.

After each input all is as it was: no descriptor, offer, client or thread is left, and an honest program is served.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from tests.framework.descriptors import open_fds
from tests.framework.sockets.broker import at_once
from tests.framework.sockets.preload import address_of, make_stream_region, marker
from tests.fuzz.choices import Choices, damaged
from tests.fuzz.target import Target, Try
from tests.fuzz.targets.descriptors import all_kinds, fd_names, some_of
from tests.fuzz.targets.silence import silenced
from tests.fuzz.targets.turns import turn
from vnicd.host.broker.broker import Broker
from vnicd.host.broker.namespace import Place
from vnicd.sockets import abi
from vnicd.sockets.abi import Address, Op, Reason, Request

NAME = f"vnicd-fuzz-{os.getpid()}"
SERVED = ("", "", abi.RESOLVER, abi.EXCHANGE, abi.EXCHANGE, abi.EXCHANGE)
OWN = ("127.0.0.1", "::1", "10.9.9.1", "fd09::1")
FAMILIES = (socket.AF_INET, socket.AF_INET6, 0, socket.AF_UNIX, 65535)
OFFER_S = 0.02
THREADS_MOST = 16
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def _raise_loopback() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


class _Program:
    """A connection to one of the names; what it is answered it takes, if it is asked to."""

    def __init__(self, where: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.connect(f"\0{NAME}{where}")
        self.sock.setblocking(False)

    def send(self, data: bytes, fds: list[int]) -> None:
        with suppress(OSError):
            socket.send_fds(self.sock, [data], fds)

    def hear(self) -> list[int]:
        """The reasons of all answers that have come."""
        found = []
        with suppress(OSError):
            while True:
                data, fds, _, _ = socket.recv_fds(self.sock, 64, 4)
                for fd in fds:
                    os.close(fd)
                if not data:
                    break
                found.append(abi.parse_reply(data).reason)
        return found

    def close(self) -> None:
        self.sock.close()


class _Broker:
    def __init__(self, kinds: list[int], tracebacks: list[str], stack: ExitStack) -> None:
        self.kinds, self.problems = kinds, tracebacks
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: self.problems.append(str(context)))
        self.broker = self.loop.run_until_complete(self._begin())
        (self.namespace,) = self.broker.namespaces.values()
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted = stack.enter_context(listener.accept()[0])
        self.listening, self.connecting = address_of(listener), address_of(client)
        bound = stack.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))
        self.tcp = [listener.fileno(), client.fileno(), accepted.fileno(), bound.fileno()]
        self.addresses = [self.listening, self.connecting, address_of(bound), abi.NOWHERE]
        for where in (self.listening, abi.address("10.9.9.1", 80)):
            stack.enter_context(marker(where))
        self.doorbells = socket.socketpair()
        for doorbell in self.doorbells:
            stack.enter_context(doorbell)
        self.region = make_stream_region()
        stack.callback(os.close, self.region)
        self.check_service()
        self.before, self.count = fd_names(), open_fds(collect=False)

    async def _begin(self) -> Broker:
        broker = Broker(at_once, NAME, OFFER_S)
        await broker.update({1: Place(None, OWN)})
        return broker

    def close(self) -> None:
        self.loop.run_until_complete(self._end())
        self.loop.close()

    async def _end(self) -> None:
        self.broker.close()

    # ---------------------------------------------------------------------------------------- inputs

    def _address(self, choices: Choices) -> Address:
        if choices.one_in(4):
            return abi.address(choices.pick((*OWN, "192.0.2.1", "0.0.0.0", "::")), choices.below(65536))
        return choices.pick(self.addresses)

    def _request(self, choices: Choices) -> tuple[bytes, list[int]]:
        kind = choices.below(8)
        if kind <= 2:  # what may be right
            op = choices.pick((Op.OFFER, Op.OFFER, Op.TAKE, Op.TAKE, Op.FORGET))
            fds = [self.doorbells[0].fileno(), self.region, self.tcp[1]] if op is Op.OFFER else [self.tcp[2]]
            return abi.request(op, self.connecting, self.listening), fds
        version = abi.VERSION if not choices.one_in(16) else choices.below(65536)
        op_number = choices.pick(tuple(Op)) if not choices.one_in(16) else choices.below(65536)
        data = Request(version, op_number, self._address(choices), self._address(choices)).pack()
        if choices.one_in(8):
            at = choices.pick((8, 32))
            data = data[:at] + struct.pack("=H", choices.pick(FAMILIES)) + data[at + 2 :]
        if choices.one_in(12):
            data = damaged(choices, data)
        fds = some_of(choices, [*self.kinds, *self.tcp, self.region])
        if choices.one_in(4):
            offered = [self.doorbells[0].fileno(), self.region, choices.pick(self.tcp)]
            fds = offered[: 1 + choices.below(3)] + fds[:3]
        return data, fds

    def attempt(self, data: bytes) -> int:
        choices = Choices(data)
        programs: list[_Program] = []
        told = 0
        while choices.more:
            if not programs or choices.one_in(8):
                programs.append(_Program(choices.pick(SERVED)))
            program = programs[-1 - choices.below(len(programs))]
            program.send(*self._request(choices))
            told += 1
            if choices.one_in(4):
                program.hear()
            if choices.one_in(8):
                programs.remove(program)
                program.close()
            turn(self.loop)
        for program in programs:
            program.hear()
            program.close()
        self.check()
        return told

    # ---------------------------------------------------------------------------------------- checks

    def until(self, condition: Callable[[], object]) -> bool:
        """Whether it has become so within seconds."""
        for _ in range(5000):
            if condition():
                return True
            self.loop.run_until_complete(asyncio.wait([self.loop.create_future()], timeout=0.001))
        return False

    def check_service(self) -> None:
        """An honest program is served at all three places."""
        asked = (
            ("", abi.request(Op.HELLO), Reason.DIRECT),
            (abi.RESOLVER, abi.request(Op.ASK, target=self.listening), Reason.DIRECT),
            (abi.EXCHANGE, abi.request(Op.TAKE), Reason.NO_DESCRIPTORS),
        )
        for where, request, reason in asked:
            self.check_answer(where, request, reason)

    def check_answer(self, where: str, request: bytes, reason: Reason) -> None:
        heard: list[int] = []
        with closing(_Program(where)) as honest:
            honest.send(request, [])

            def has_heard() -> bool:
                heard.extend(honest.hear())
                return bool(heard)

            assert self.until(has_heard), f"no answer at {where!r}"
            assert heard == [reason], f"{heard} at {where!r}"

    def check(self) -> None:
        self.check_service()
        exchange = self.broker.exchanges.exchange
        empty = self.until(lambda: not any(exchange.counts(self.namespace.exchange)))
        assert empty, f"clients, offers, made offers, unclosed: {exchange.counts(self.namespace.exchange)}"
        assert self.until(lambda: open_fds(collect=False) <= self.count), (
            f"leaked: {Counter(fd_names()) - Counter(self.before)}"
        )
        assert self.until(lambda: not self.namespace.sessions), "programs that are gone are kept"
        assert threading.active_count() <= THREADS_MOST, f"{threading.active_count()} threads"
        assert not self.problems, self.problems


@contextmanager
def _opened() -> Iterator[Try]:
    _raise_loopback()
    with silenced() as silence, all_kinds() as kinds, ExitStack() as stack:
        broker = stack.enter_context(closing(_Broker(kinds, silence.tracebacks, stack)))
        yield broker.attempt


TARGETS = {
    "broker": Target(
        "programs' requests to the broker, its resolver and its exchange", _opened, 1500, needs_root=True
    )
}
