"""A partition as a test uses it: run a command in it, open a socket in it, ping from it."""

from __future__ import annotations

import re
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.namespaces import namespace_of, socket_in
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.fabric import Fabric

Argv = list[str]


@dataclass(frozen=True)
class PingResult:
    """How many echo requests were sent and how many of them answered."""

    sent: int
    received: int
    output: str = field(repr=False, default="")

    @property
    def lost(self) -> int:
        return self.sent - self.received

    @classmethod
    def parse(cls, output: str) -> PingResult:
        match = re.search(r"(\d+) packets transmitted, (\d+) received", output)
        assert match, f"not an output of ping: {output!r}"
        return cls(int(match[1]), int(match[2]), output)


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

    def ping(self, target: str, *options: str, count: int = 2, timeout: float = 60) -> PingResult:
        argv = ["ping", "-n", "-i", "0.01", "-W", "1", "-c", str(count), *options, target]
        return PingResult.parse(self.run(argv, check=False, timeout=timeout).stdout)

    def start_ping(self, target: str, count: int, interval: float = 0.01) -> subprocess.Popen[bytes]:
        """A ping that runs along; its result is `PingResult.parse(process.communicate()[0].decode())`."""
        argv = ["ping", "-n", "-i", str(interval), "-W", "1", "-c", str(count), target]
        return self.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

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
