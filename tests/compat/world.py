"""The fabric of a run, with two partitions: it is swept after each cell, and made again if a cell broke it."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.compat.case import Case
from tests.compat.processes import has_ended, kill, name_of, sockets_of, with_descendants, with_variable
from tests.framework.fabric import fabric
from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import in_namespace
from tests.framework.fabric.partition import Partition
from tests.framework.sockets import direct
from tests.framework.sockets.direct import End, Ends, connections_in, processes_in
from tests.framework.waiting import wait_until

WAYS = {"plain": (False, False), "both": (True, True), "client": (True, False), "server": (False, True)}
"""Who has the library: the client, the server."""

UP = {"01", "02", "03", "04", "05", "08", "09"}
"""States of TCP in which a program still has the connection: all but TIME_WAIT, CLOSE, LISTEN and the last FINs'."""

STEADY_LOOKS = 8
SETTLE_TIMEOUT_S = 15

FIRST_PORT = 21000
RELAY = "vnicd-relay"


def choose_library(path: Path) -> None:
    """Takes the library at `path`, and the broker of its tree if there is one: the two speak one version."""
    direct.LIBRARY = path
    vnicctl = path.parents[1] / ".venv/bin/vnicctl"
    if vnicctl.exists():
        fabric.VNICCTL = vnicctl


@dataclass(frozen=True)
class Use:
    """How many connections with the other partition, and descriptors of sockets, programs have."""

    connections: int
    sockets: int

    def less(self) -> Use:
        return Use(self.connections - 1, self.sockets - 1)


class World:
    """Starts its fabric when it is entered, and leaves nothing behind."""

    def __init__(self) -> None:
        self.base = Path(f"/run/vnicd-compat-{os.getpid()}")
        self._numbers = itertools.count()
        self._fabric: Fabric | None = None

    def __enter__(self) -> World:
        self.base.mkdir()
        self._library = direct.LIBRARY
        direct.LIBRARY = Path(shutil.copy2(self._library, self.base))  # it may be built again meanwhile
        self._build()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        finally:
            direct.LIBRARY = self._library
            shutil.rmtree(self.base, ignore_errors=True)

    def _build(self) -> None:
        number = next(self._numbers)
        self._runtime = self.base / f"f{number}"
        self._fabric = Fabric(self._runtime, f"{os.getpid() % 100_000}c{number}")
        self._fabric.up()
        self.client = self._fabric.add("blue", "10.78.0.1/24")
        self.server = self._fabric.add("green", "10.78.0.2/24")
        for each in (self.client, self.server):
            each.run(["ip", "link", "set", "lo", "up"])
        assert self.client.ping(self.server.ip).lost == 0, "the partitions do not reach each other"
        there = {pid for each in (self.client, self.server) for pid in processes_in(each.netns)}
        self._own = there | self._fabric.pids()

    def _leave(self) -> None:
        if self._fabric:
            self.sweep()
            self._fabric.close()
            self._fabric = None

    def case(self, way: str) -> Case:
        """Surroundings of a new cell."""
        number = next(self._numbers)
        folder = self.base / f"cell{number}"
        folder.mkdir()
        client, server = WAYS[way]
        ends = Ends(End(self.client, client), End(self.server, server))
        return Case(ends, folder, FIRST_PORT + 10 * number)

    def programs(self, partition: Partition) -> list[int]:
        """The processes of programs in a partition, without the library's relays."""
        there = [pid for pid in processes_in(partition.netns) if pid not in self._own]
        return [pid for pid in with_descendants(there) if name_of(pid) != RELAY]

    def kill(self, partition: Partition) -> None:
        """SIGKILL to all programs in a partition, until none is left: a master may have replaced a worker."""

        def is_empty() -> bool:
            left = self.programs(partition)
            for pid in left:
                kill(pid)
            return all(has_ended(pid) for pid in left)

        wait_until(is_empty, 20, "the programs of a partition have ended")

    def sweep(self) -> None:
        """Ends what a cell left in the partitions."""

        def is_clean() -> bool:
            there = {pid for each in (self.client, self.server) for pid in processes_in(each.netns)}
            left = (there | with_variable(f"VNICD_RUNTIME_DIR={self._runtime}")) - self._own
            for pid in left:
                kill(pid)
            return not left

        wait_until(is_clean, 20, "the programs of the cell have ended")

    def clean(self, case: Case) -> None:
        """Takes a cell away, and makes the fabric again if it has come to harm."""
        self.sweep()
        shutil.rmtree(case.folder, ignore_errors=True)
        if not self._is_sound():
            self._leave()
            self._build()

    def _is_sound(self) -> bool:
        with suppress(Exception):
            assert self._fabric and self._fabric.call("fabric.ping")
            return self.client.ping(self.server.ip, "-W", "2").lost == 0
        return False

    def use(self, partition: Partition) -> Use:
        """What the programs in a partition use of either kind of connection."""
        other = self.server if partition is self.client else self.client
        tables = in_namespace(partition.netns, _tcp_tables)
        far = "".join(f"{int(part):02X}" for part in reversed(other.ip.split(".")))
        fields = [line.split() for line in tables.splitlines()]
        tcp = [each for each in fields if each[3] in UP and each[2].split(":")[0].endswith(far)]
        sockets = sum(sockets_of(pid) for pid in self.programs(partition))
        return Use(len(tcp) + len(connections_in(partition)), sockets)

    def settled(self, partition: Partition) -> Use:
        """The same, when it has not changed for a while."""
        last = [self.use(partition)]

        def is_steady() -> bool:
            last.append(self.use(partition))
            return len(last) > STEADY_LOOKS and len(set(last[-STEADY_LOOKS:])) == 1

        wait_until(is_steady, SETTLE_TIMEOUT_S, "what the idle server uses does not change")
        return last[-1]

    def lets_go(self, partition: Partition, idle: Use) -> bool:
        """Whether no more is in use than was; programs may keep the memory or a descriptor for the next connection."""
        now = self.use(partition)
        return now.connections <= idle.connections or now.sockets <= idle.sockets


def _tcp_tables() -> str:
    return "".join(Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6"))
