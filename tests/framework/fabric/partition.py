"""A partition as a test uses it: run a command in it, open a socket in it, ping from it."""

from __future__ import annotations

import re
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.framework.fabric.namespaces import namespace_of, socket_in
from tests.framework.waiting import wait_until

if TYPE_CHECKING:
    from tests.framework.fabric.fabric import Fabric

Argv = list[str]


DEADLINE = 20
"""Seconds that a ping waits for answers before it gives up."""


@dataclass(frozen=True)
class PingResult:
    """How many echo requests were sent, and which of them were not answered, by their numbers from 1."""

    sent: int
    missing: frozenset[int]
    output: str = field(repr=False, default="")

    @property
    def lost(self) -> int:
        return len(self.missing)

    @property
    def received(self) -> int:
        return self.sent - self.lost

    @classmethod
    def parse(cls, output: str, count: int) -> PingResult:
        """Of the first `count` requests; further ones only tell that nothing earlier is still to come."""
        assert "packets transmitted" in output, f"not an output of ping: {output!r}"
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", output)}
        return cls(count, frozenset(range(1, count + 1)) - answered, output)


@dataclass(frozen=True)
class RunningPing:
    """A ping of `count` requests that runs along."""

    process: subprocess.Popen[bytes]
    count: int

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def result(self) -> PingResult:
        """When it has ended."""
        return PingResult.parse(self.process.communicate(timeout=2 * DEADLINE)[0].decode(), self.count)


def _ping(target: str, count: int, *options: str) -> Argv:
    """A ping at 100 per second that, unless told how long by -W, waits for answers that come late.

    Without -w, ping gives the last answers two round trips when others have come, and an answer that a busy
    machine delays would count as lost. With it, it sends until `count` were answered or the time is up.
    """
    patience = () if "-W" in options else ("-w", str(DEADLINE))
    return ["ping", "-n", "-i", "0.01", "-c", str(count), *patience, *options, target]


@dataclass(frozen=True)
class Partition:
    """One partition of a fabric, as `partition add` reported it."""

    fabric: Fabric
    name: str
    netns: str
    mac: str
    addresses: tuple[str, ...]
    ifname: str

    @property
    def ip(self) -> str:
        """Its IPv4 address."""
        return next(text for text in self._plain() if ":" not in text)

    @property
    def ip6(self) -> str:
        """Its IPv6 address."""
        return next(text for text in self._plain() if ":" in text)

    def _plain(self) -> list[str]:
        return [address.split("/")[0] for address in self.addresses]

    @property
    def info(self) -> dict[str, Any]:
        """What the hosting daemon says of it now."""
        return dict(self.fabric.call("partition.show", name=self.name))

    @property
    def pid(self) -> int:
        return int(self.info["pid"])

    def wait_revived(self, old: int, timeout: float = 10) -> int:
        """The PID of the daemon that is up in the place of the one with PID `old`.

        Both facts come from one answer: between two of them the new daemon may come, or go.
        """

        def other() -> int | None:
            info = self.info
            return info["pid"] if info["state"] == "up" and info["pid"] != old else None

        return wait_until(other, timeout, f"{self.name} is up with another daemon than {old}") or 0

    @property
    def drops(self) -> dict[str, int]:
        """Frames that its daemon dropped, by reason."""
        return dict(self.fabric.call("stats", name=self.name)["ports"][0]["drops"])

    def run(self, argv: Argv, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """The finished command, which ran in the partition's network namespace."""
        done = subprocess.run(
            self._inside(argv),
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.fabric.env,
        )
        if check and done.returncode:
            raise AssertionError(f"{argv} in {self.name}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def popen(self, argv: Argv, **options: Any) -> subprocess.Popen[bytes]:
        """A running command in the partition's network namespace; ended with the fabric at the latest."""
        process = self.fabric.popen(self._inside(argv), **options)
        there = Path(self.netns).stat().st_ino
        wait_until(
            lambda: process.poll() is not None or namespace_of(process.pid) == there, 10, f"{argv} is inside"
        )
        return process

    def _inside(self, argv: Argv) -> Argv:
        return ["nsenter", f"--net={self.netns}", "--", *argv]

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket of this partition; closed with the fabric at the latest."""
        return self.fabric.on_close(socket_in(self.netns, family, kind, proto))

    def ping(self, target: str, *options: str, count: int = 2) -> PingResult:
        """A finished ping; with -W among the options it gives up so many seconds after the last request."""
        argv = _ping(target, count, *options)
        return PingResult.parse(self.run(argv, check=False).stdout, count)

    def start_ping(self, target: str, count: int) -> RunningPing:
        process = self.popen(_ping(target, count), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return RunningPing(process, count)

    def know(self, other: Partition) -> None:
        """Enters the other's MAC address for good, so that not even ARP precedes the first frame.

        Also for order: when a kernel has found a lost neighbour again, new datagrams overtake those that waited.
        """
        for address in other._plain():
            self.run(["ip", "neigh", "replace", address, "lladdr", other.mac, "dev", self.ifname])

    def forget(self, other: Partition) -> None:
        """What `know` entered, if it is still there."""
        for address in other._plain():
            self.run(["ip", "neigh", "del", address, "dev", self.ifname], check=False)
