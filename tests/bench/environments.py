"""Where workloads run: two namespaces, A and B, that reach each other in one way or another.

An environment is made on entry and leaves nothing on exit, whatever happened in between. A new one says in
`make` how its two ends come about; what is made there registers its removal before it exists.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from tests.bench.links import add_address, add_bridge, add_veth, ip, join_bridge
from tests.bench.processes import cpu_seconds
from tests.framework.fabric.fabric import Fabric

Side = Literal["a", "b"]

PREFIX = 16
_counter = itertools.count()


def unique_tag() -> str:
    """A text that is in no other name on this machine."""
    return f"bench{os.getpid():x}-{next(_counter)}"


class Environment(ABC):
    """Two ends, `a` and `b`, each with an address and a way to run commands there."""

    name: ClassVar[str]
    address: ClassVar[dict[Side, str]] = {"a": "10.77.0.1", "b": "10.77.0.2"}

    def __init__(self, mtu: int = 1500) -> None:
        self.mtu = mtu
        self.tag = unique_tag()
        self.stack = ExitStack()

    @abstractmethod
    def make(self) -> None:
        """Makes both ends; what is to be undone goes onto `stack`."""

    @abstractmethod
    def namespace(self, side: Side) -> str:
        """Path of an end's namespace."""

    def add_namespace(self, label: str) -> str:
        """The name of a new namespace with loopback up."""
        name = f"{label}-{self.tag}"
        delete = ["ip", "netns", "delete", name]
        self.stack.callback(subprocess.run, delete, check=False, stderr=subprocess.DEVNULL)
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
        return name

    def argv_in(self, side: Side, command: Sequence[str]) -> list[str]:
        """How to run a command of a workload at one end."""
        return ["ip", "netns", "exec", Path(self.namespace(side)).name, *command]

    def daemon_cpu(self) -> float:
        """CPU seconds that the environment's own processes have used so far."""
        return 0.0

    def facts(self) -> dict[str, Any]:
        """What a reader of the figures should know of it."""
        return {"mtu": self.mtu}

    def warm_up(self) -> None:
        """Neighbours are known and links are made when this returns; fails when no ping gets through."""
        command = self.argv_in("a", ["ping", "-q", "-c", "1", "-w", "5", self.address["b"]])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name}: no ping gets from a to b: {done.stderr or done.stdout}")

    def __enter__(self) -> Self:
        try:
            self.make()
            self.warm_up()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()


class VethBridge(Environment):
    """What people use: a veth pair from each namespace to a bridge, which is in a namespace of its own."""

    name = "veth+bridge"

    def make(self) -> None:
        switch = self.add_namespace("switch")
        add_bridge(switch, self.mtu)
        for side in ("a", "b"):
            end, port = self.add_namespace(side), f"port-{side}"
            add_veth(switch, port, end, "eth0", self.mtu)
            join_bridge(switch, port)
            add_address(end, "eth0", f"{self.address[side]}/{PREFIX}")

    def namespace(self, side: Side) -> str:
        return f"/run/netns/{side}-{self.tag}"


class Vnicd(Environment):
    """Two partitions of a fabric of its own, and if wanted idle ones beside them."""

    name = "vnicd"

    def __init__(self, mtu: int = 1500, idle: int = 0) -> None:
        super().__init__(mtu)
        self.idle = idle
        self.fabric: Fabric

    def make(self) -> None:
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="vnicd-bench-"))
        self.fabric = Fabric(Path(directory) / "fabric", self.tag)
        self.stack.callback(self.fabric.close)
        self.fabric.up()
        for side in ("a", "b"):
            self.fabric.add(side, f"{self.address[side]}/{PREFIX}", mtu=self.mtu)
        self.add_idle(self.idle)

    def add_idle(self, count: int) -> None:
        """Partitions idle0, idle1, .. which nobody talks to."""

        def add(number: int) -> None:
            self.fabric.add(f"idle{number}", f"10.77.1.{number + 1}/{PREFIX}", mtu=self.mtu)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(count)))

    def namespace(self, side: Side) -> str:
        return f"/run/netns/{self.fabric.name(side)}"

    def daemons(self) -> list[int]:
        """Process ids of the host and of all partitions' daemons."""
        return [port["pid"] for port in self.fabric.call("status")["ports"] if port["pid"]]

    def daemon_cpu(self) -> float:
        return sum(map(cpu_seconds, self.daemons()))

    def facts(self) -> dict[str, Any]:
        fabric = self.fabric.call("status")["fabric"]
        return {**super().facts(), **{key: fabric.get(key) for key in ("version", "page_size", "degraded")}}


class VnicdCrowded(Vnicd):
    """Two busy partitions among many idle ones."""

    name = "vnicd, 30 idle beside"

    def __init__(self, mtu: int = 1500) -> None:
        super().__init__(mtu, idle=30)
