"""Traffic that runs along: a TCP stream checked by content, numbered datagrams and echoes; each tells what was lost."""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from threading import Event, Thread

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.datagrams import NUMBER, udp
from tests.framework.traffic.echo import Echo
from tests.framework.traffic.streams import connect
from tests.framework.waiting import wait_until

BLOCK = random.Random(7).randbytes(1_000_003)
"""A stream is this again and again; a prime length, so that a shift by any power of two shows."""

CHUNK, CHUNKS_PER_SECOND = 32 << 10, 100
UDP_PER_SECOND, PINGS_PER_SECOND = 500, 100
LAST = 0.5
"""Seconds that the last datagrams have to arrive."""

SILENCE = 0.05
"""Seconds without an arrival after which the sender's kernel may have asked for the neighbour's address again."""

STREAM_END = 30.0
"""Seconds that a stream has to deliver all that was sent; after a long silence TCP tries again late."""


def misplaced(arrived: list[int], times: list[float], sent: list[float]) -> int:
    """How many datagrams came twice, or were overtaken by one that was sent later.

    `arrived` has the numbers in the order of their arrival at `times`, `sent[number]` the time of sending, in seconds.
    A datagram that was sent during a silence may be overtaken: while the kernel waits for the neighbour's address
    it queues what is to go out, and what is sent while it empties that queue goes past. Over a veth pair, 3 of 20
    such queues were overtaken.
    """
    silences = [(before, after) for before, after in pairwise(times) if after - before >= SILENCE]
    seen: set[int] = set()
    newest, wrong = -1, 0
    for number in arrived:
        waited = any(before <= sent[number] <= after for before, after in silences)
        wrong += number in seen or (number < newest and not waited)
        seen.add(number)
        newest = max(newest, number)
    return wrong


@dataclass(frozen=True)
class Outcome:
    """What became of one kind of traffic; for a stream in bytes."""

    kind: str
    sent: int
    arrived: int
    wrong: int = 0
    """Bytes with another content, or datagrams that came twice or were overtaken (see `misplaced`)."""
    gap: float = 0.0
    """The longest time without an arrival, in seconds."""
    error: str = ""

    @property
    def lost(self) -> int:
        return self.sent - self.arrived

    def __str__(self) -> str:
        tail = f", {self.wrong} wrong" if self.wrong else ""
        return f"{self.kind}: {self.lost} of {self.sent} lost, gap {self.gap:.2f} s{tail}{self.error}"


class Flow:
    """One kind of traffic in two threads; `times` are those of its arrivals."""

    kind = ""

    def __init__(self) -> None:
        self.stop = Event()
        self.ended = Event()
        """Nothing more is waited for."""
        self.sent = 0
        self.error = ""
        self.started = time.monotonic()
        self.times: list[float] = []
        self.threads = [Thread(target=body, daemon=True) for body in (self.send_all, self.receive_all)]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def send_all(self) -> None:
        raise NotImplementedError

    def receive_all(self) -> None:
        raise NotImplementedError

    def finish(self) -> Outcome:
        raise NotImplementedError

    def at_pace(self, per_second: float, send: Callable[[], None]) -> None:
        """Sends at a steady rate until stopped; what is late follows at once."""
        start, number = time.monotonic(), 0
        while not self.stop.wait(max(0.0, start + number / per_second - time.monotonic())):
            send()
            number += 1

    def gap(self, until: float) -> float:
        times = [self.started, *self.times]
        if not self.times or until > times[-1]:
            times.append(until)
        return max(after - before for before, after in pairwise(times))

    def join(self) -> None:
        for thread in self.threads:
            thread.join()


class Stream(Flow):
    """A TCP connection at a modest rate whose bytes are compared with what was sent."""

    kind = "tcp"

    def __init__(self, one: Partition, other: Partition) -> None:
        self.out, self.into = connect(one, other, other.ip)
        self.out.settimeout(0.1)
        self.into.settimeout(0.1)
        self.arrived = self.wrong = 0
        self.complete = False
        super().__init__()

    def send_all(self) -> None:
        self.at_pace(CHUNKS_PER_SECOND, self._send)
        try:
            self.out.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = f"; broken: {error}"

    def _send(self) -> None:
        at = self.sent % len(BLOCK)
        try:
            self.sent += self.out.send(BLOCK[at : at + CHUNK])
        except TimeoutError:
            pass  # nothing gets through just now
        except OSError as error:
            self.error = f"; broken: {error}"
            self.stop.set()

    def receive_all(self) -> None:
        buffer = bytearray(1 << 18)
        while not self.ended.is_set():
            try:
                count = self.into.recv_into(buffer)
            except TimeoutError:
                continue
            except OSError as error:
                self.error = f"; broken: {error}"
                break
            if not count:
                self.complete = True
                break
            self.times.append(time.monotonic())
            self._check(bytes(buffer[:count]))

    def _check(self, data: bytes) -> None:
        at, seen = self.arrived % len(BLOCK), 0
        while seen < len(data):
            piece = BLOCK[at : at + len(data) - seen]
            if data[seen : seen + len(piece)] != piece:
                self.wrong += len(piece)
            seen, at = seen + len(piece), 0
        self.arrived += len(data)

    def finish(self) -> Outcome:
        self.stop.set()
        now = time.monotonic()
        self.threads[1].join(STREAM_END)
        self.ended.set()
        self.join()
        self.out.close()
        self.into.close()
        error = self.error or ("" if self.complete else f"; not complete after {STREAM_END:g} s")
        return Outcome(self.kind, self.sent, self.arrived, self.wrong, self.gap(now), error)


class Numbered(Flow):
    """Datagrams that carry their number."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.sent_at: list[float] = []
        super().__init__()

    def next_number(self) -> int:
        number, self.sent = self.sent, self.sent + 1
        self.sent_at.append(time.monotonic())
        return number

    def took(self, number: int) -> None:
        self.numbers.append(number)
        self.times.append(time.monotonic())

    def close(self) -> None:
        raise NotImplementedError

    def finish(self) -> Outcome:
        self.stop.set()
        now = time.monotonic()
        self.threads[0].join()
        self.ended.wait(0.02)
        late = now + LAST
        while len(self.numbers) < self.sent and time.monotonic() < late:
            self.ended.wait(0.02)
        self.ended.set()
        self.join()
        self.close()
        wrong = misplaced(self.numbers, self.times, self.sent_at)
        return Outcome(self.kind, self.sent, len(set(self.numbers)), wrong, self.gap(now))


class Datagrams(Numbered):
    """UDP at a steady rate; one that the sender's kernel refuses counts as lost."""

    kind = "udp"

    def __init__(self, one: Partition, other: Partition, size: int = 200) -> None:
        self.out, self.into = udp(one, one.ip), udp(other, other.ip)
        self.into.settimeout(0.05)
        self.target = self.into.getsockname()
        self.padding = bytes(size - NUMBER.size)
        super().__init__()

    def send_all(self) -> None:
        self.at_pace(UDP_PER_SECOND, self._send)

    def _send(self) -> None:
        number = self.next_number()
        try:
            self.out.sendto(NUMBER.pack(number) + self.padding, self.target)
        except OSError:
            pass

    def receive_all(self) -> None:
        while not self.ended.is_set():
            try:
                self.took(NUMBER.unpack_from(self.into.recv(1 << 16))[0])
            except TimeoutError:
                continue

    def close(self) -> None:
        self.out.close()
        self.into.close()


class Pings(Numbered):
    """Echo requests and their answers."""

    kind = "ping"

    def __init__(self, one: Partition, other: Partition) -> None:
        self.echo, self.target = Echo(one), other.ip
        super().__init__()

    def send_all(self) -> None:
        self.at_pace(PINGS_PER_SECOND, self._send)

    def _send(self) -> None:
        number = self.next_number()
        try:
            self.echo.send(self.target, number)
        except OSError:
            pass

    def receive_all(self) -> None:
        while not self.ended.is_set():
            if select.select([self.echo.socket], [], [], 0.05)[0]:
                while (number := self.echo.receive()) is not None:
                    self.took(number)

    def close(self) -> None:
        self.echo.socket.close()


KINDS: dict[str, Callable[[Partition, Partition], Flow]] = {"tcp": Stream, "udp": Datagrams, "ping": Pings}


class Load:
    """All kinds of traffic from one partition to another for as long as the block runs; then the outcomes are there."""

    def __init__(self, one: Partition, other: Partition, *kinds: str) -> None:
        self.label = f"{one.name} to {other.name}"
        self.flows = {kind: KINDS[kind](one, other) for kind in kinds or KINDS}
        self.outcomes: dict[str, Outcome] = {}

    def __enter__(self) -> Load:
        for flow in self.flows.values():
            flow.start()
        return self

    def __exit__(self, *_: object) -> None:
        for flow in self.flows.values():
            flow.stop.set()
        self.outcomes = {kind: flow.finish() for kind, flow in self.flows.items()}

    def __getitem__(self, kind: str) -> Outcome:
        return self.outcomes[kind]

    def __str__(self) -> str:
        return f"{self.label}: " + "; ".join(map(str, self.outcomes.values()))

    def wait_until_it_flows(self, timeout: float) -> None:
        """Until something of each kind has arrived that was not there when this was called."""
        before = {kind: len(flow.times) for kind, flow in self.flows.items()}
        for kind, flow in self.flows.items():
            wait_until(
                lambda flow=flow, kind=kind: len(flow.times) > before[kind] + 2,  # type: ignore[misc]
                timeout,
                f"{kind} flows, {self.label}",
            )

    def check_content(self) -> None:
        """Whatever happened: a stream is complete and right, nothing came twice or was overtaken."""
        for outcome in self.outcomes.values():
            assert not outcome.wrong and not outcome.error, str(self)
        if "tcp" in self.outcomes:
            assert not self["tcp"].lost, str(self)
