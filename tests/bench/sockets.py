"""Direct sockets beside veth+bridge and the frame path, and what they cost those who do not use them.

The first environment of each suite is under test, the second is what its ratios refer to, and a third is there
to see. Nothing is measured as direct that is not: before each measurement a connection is looked at.
"""

from __future__ import annotations

import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.bench.environments import PREFIX, Environment, Side, VethBridge, Vnicd
from tests.bench.figures import Bar
from tests.bench.loads import socket_loads as loads
from tests.bench.loads.tools import server
from tests.bench.suites import Suite, against_itself
from tests.framework.fabric.fabric import Fabric
from tests.framework.sockets.direct import LIBRARY, preloading, regions
from tests.framework.waiting import wait_for_output

CUBIC = "for each in cubic reno; do if echo $each; then break; fi 2>/dev/null >tcp_congestion_control; done"


def use_cubic(environment: Environment) -> None:
    """Servers too run with Debian's default, whatever the machine is set to; see workloads.py.

    Or with reno, where namespaces may not choose cubic: without losses the two are the same.
    """
    for side in ("a", "b"):
        command = ["sh", "-c", f"cd /proc/sys/net/ipv4 && {CUBIC}"]
        subprocess.run(Environment.argv_in(environment, side, command), check=True)


class Bridge(VethBridge):
    """What people use."""

    def make(self) -> None:
        super().make()
        use_cubic(self)


class Frames(Vnicd):
    """The programs' TCP, over vnicd's frames."""

    name = "vnicd frames"

    def make(self) -> None:
        super().make()
        use_cubic(self)


class Direct(Frames):
    """The same with the preload library at both ends."""

    name = "vnicd direct"
    idle_connections: ClassVar[int] = 0
    """Connections that are held beside a busy one where a workload is about that."""

    def make(self) -> None:
        need_library()
        super().make()

    def argv_in(self, side: Side, command: Sequence[str]) -> list[str]:
        return super().argv_in(side, preloading(command, True))

    def warm_up(self) -> None:
        super().warm_up()
        self.check_direct()

    def check_direct(self) -> None:
        """Fails when a new connection from a to b is not direct."""
        where = [self.address["b"], str(loads.CONNECT_PORT)]
        program = loads.connect_program()
        with server(self, "b", [program, "serve", *where], loads.CONNECT_PORT, "tcp"):
            process = subprocess.Popen(
                self.argv_in("a", [program, "hold", *where, "1"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
            try:
                assert process.stdout
                wait_for_output(process.stdout, b"held", 10)
                if not regions(process.pid):
                    raise RuntimeError("a connection from a to b is not direct")
            finally:
                process.kill()
                process.communicate()


class DirectIdle(Direct):
    """With a thousand idle direct connections beside."""

    name = "1,000 idle beside"
    idle_connections = 1000


class Loopback(Environment):
    """One partition that talks to itself by 127.0.0.1."""

    name = "without preload"
    address: ClassVar[dict[Side, str]] = {"a": "127.0.0.1", "b": "127.0.0.1"}

    def make(self) -> None:
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="vnicd-bench-"))
        self.fabric = Fabric(Path(directory) / "fabric", self.tag)
        self.stack.callback(self.fabric.close)
        self.fabric.up()
        self.fabric.add("a", f"10.77.0.1/{PREFIX}", mtu=self.mtu)
        use_cubic(self)

    def namespace(self, side: Side) -> str:
        return f"/run/netns/{self.fabric.name('a')}"


class LoopbackPreloaded(Loopback):
    """With the preload library in both programs, which leaves loopback alone."""

    name = "preloaded"

    def make(self) -> None:
        need_library()
        super().make()

    def argv_in(self, side: Side, command: Sequence[str]) -> list[str]:
        return super().argv_in(side, preloading(command, True))


def need_library() -> None:
    if not LIBRARY.exists():
        raise RuntimeError(f"there is no {LIBRARY}; scripts/setup builds it")


def prepare(missing: list[str]) -> None:
    """What must be so before anything is measured: the programs are there and may open many files."""
    loads.check_programs(missing)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _held(environment: Environment) -> int:
    return environment.idle_connections if isinstance(environment, Direct) else 0


SOCKETS = Suite(
    name="sockets",
    title="direct sockets and veth+bridge, with the frame path beside",
    environments=(Direct, Bridge, Frames),
    workloads=loads.ALL,
    bars={
        "tcp": Bar(2.0, 3.0),
        "tcp_p50": Bar(0.08, 0.04),
        "redis_50": Bar(2.2, 3.0),
        "redis_1": Bar(5.0, 8.0),
        "redis_p16": Bar(1.5, 2.0),
        "http": Bar(2.2, 3.5),
        "http_close": Bar(0.8),
        "connects": Bar(0.7),
        "pgbench": Bar(1.3),
        "http_node": Bar(1.5),
        "http_apache": Bar(1.5),
        "hogs_done": Bar(1.0),
        "hogs_p99": Bar(1.5),
        "hogs_flat": Bar(1.0),
    },
)

IDLE = Suite(
    name="idle",
    title="one busy direct connection with 1,000 idle ones beside, and alone",
    environments=(DirectIdle, Direct),
    workloads=(loads.redis_beside(_held),),
    bars={"busy": Bar(0.95)},
)

PRELOAD = Suite(
    name="preload",
    title="programs that use no direct connection, with the preload library and without, on loopback",
    environments=(LoopbackPreloaded, Loopback),
    workloads=(loads.REDIS_50, loads.HTTP),
    bars={"redis_50": Bar(0.98), "http": Bar(0.98)},
)

SOCKET_SUITES = (SOCKETS, IDLE, PRELOAD)
SOCKET_NOISE_SUITES = (against_itself(SOCKETS, "noise-sockets"),)
