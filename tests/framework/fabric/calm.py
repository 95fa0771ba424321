"""How calm a pair of partitions and the hosting daemon are, to compare times with and without somebody beside.

What others do on the machine says nothing about us, so each time is told twice: as it was, and without what the threads
in question were ready to run and had no CPU. That may be more than was waited for, as several threads are in question.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.forge import checksum
from tests.framework.traffic.traffic import undisturbed

SECONDS = 1.0
"""How long a phase lasts at least."""

IP_HEADER = 20
ECHO, ECHO_REPLY = 8, 0

Thread = tuple[int, int]
"""Process and thread."""


class Took(NamedTuple):
    """Seconds, in all and without waiting for a CPU."""

    whole: float
    own: float


@dataclass
class Phase:
    """Round trips between the pair, and what it took until the host had answered a request."""

    pings: list[Took] = field(default_factory=list)
    answers: list[Took] = field(default_factory=list)


def usual(times: list[Took]) -> float:
    """The median of the times in all, in seconds."""
    return statistics.median(each.whole for each in times)


def late(times: list[Took]) -> float:
    """What 99 of 100 do not exceed without waiting for a CPU, in seconds."""
    return statistics.quantiles([each.own for each in times], n=100, method="inclusive")[98]


def phase(fabric: Fabric, pair: tuple[Partition, Partition], beside: Callable[[], object] | None) -> Phase:
    """Measures a pair while `beside` runs; none of their frames may be lost, doubled or overtaken meanwhile."""
    found, (one, other) = Phase(), pair
    host = fabric.host_pid()
    loops = [
        thread for pid in (host, *_daemons(fabric, pair)) for thread in _threads(pid) if thread[1] != pid
    ]
    asking = _repeated(lambda: fabric.call("status"), [(host, host)], found.answers)
    with undisturbed(one, other), Echo(one, other) as echo, asking, _repeated(echo.ask, loops, found.pings):
        begun = time.monotonic()
        if beside is not None:
            beside()
        threading.Event().wait(max(0.0, begun + SECONDS - time.monotonic()))
    return found


def _daemons(fabric: Fabric, pair: tuple[Partition, Partition]) -> Iterator[int]:
    """Of those of the pair that are partitions."""
    for port in fabric.call("partition.list")["partitions"]:
        if port["name"] in {partition.name for partition in pair}:
            yield port["pid"]


def _threads(pid: int) -> Iterator[Thread]:
    for entry in Path(f"/proc/{pid}/task").iterdir():
        yield pid, int(entry.name)


def _waits(threads: Iterable[Thread]) -> dict[Thread, int]:
    """Nanoseconds that each was ready to run while others had the CPUs; those that have ended are left out."""
    found = {}
    for pid, thread in threads:
        with suppress(OSError):
            found[pid, thread] = int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[1])
    return found


@contextmanager
def _repeated(act: Callable[[], object], threads: list[Thread], times: list[Took]) -> Iterator[None]:
    """Does something again and again, with the seconds that it takes but for these threads' and our wait for a CPU."""
    ended, errors = threading.Event(), []

    def work() -> None:
        ours = (os.getpid(), threading.get_native_id())
        try:
            while not ended.wait(0.01):
                before, begun = _waits([*threads, ours]), time.monotonic()
                act()
                took, after = time.monotonic() - begun, _waits(before)
                times.append(
                    Took(took, max(0.0, took - sum(after[each] - before[each] for each in after) / 1e9))
                )
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]


class Echo:
    """Echo requests from one partition to another, whose kernel answers them; a context manager."""

    def __init__(self, one: Partition, other: Partition) -> None:
        self.sock = one.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sock.settimeout(10)
        self.sock.connect((other.ip, 0))
        self.ident = os.getpid() & 0xFFFF
        self.number = 0

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self) -> None:
        """One request and its answer; TimeoutError after 10 seconds without."""
        self.number = (self.number + 1) & 0xFFFF
        message = struct.pack("!BBHHH", ECHO, 0, 0, self.ident, self.number)
        self.sock.send(message[:2] + struct.pack("!H", checksum(message)) + message[4:])
        expected = (ECHO_REPLY, self.ident, self.number)
        while True:
            kind, _, _, *rest = struct.unpack_from("!BBHHH", self.sock.recv(1 << 16), IP_HEADER)
            if (kind, *rest) == expected:
                return


@dataclass(frozen=True)
class Holdings:
    """What the hosting daemon and these partitions' daemons hold: private memory in MiB, descriptors, bytes of log."""

    memory: float
    descriptors: int
    log: int

    @classmethod
    def of(cls, fabric: Fabric, *partitions: Partition) -> Holdings:
        pids = [fabric.host_pid(), *(partition.pid for partition in partitions)]
        names = ("host", *(partition.name for partition in partitions))
        return cls(
            sum(_anonymous(pid) for pid in pids) / 1024,
            sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
            sum((fabric.runtime / f"log/{name}.log").stat().st_size for name in names),
        )


def _anonymous(pid: int) -> int:
    """Private memory of a process in KiB: rings and other shared memory are no part of it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
