"""Programs in partitions with the preload library or without it, and whether connections became direct.

A connection is direct when both its ends have mapped both stream regions: its own for writing and the far
one for reading only. So a process that has the far region of something mapped has a direct connection, whatever
the programs, the broker and `vnicctl sockets` believe.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import namespace_of
from tests.framework.fabric.partition import Argv, Partition
from tests.framework.traffic.streams import is_listening
from tests.framework.waiting import wait_until

LIBRARY = Path(__file__).parents[3] / "vnicd/libvnicd-sockets.so"

REGION = "memfd:vnicd-region"
FAR, OWN = "r--s", "rw-s"
"""How the far end's region is mapped, and how the own one is."""


def preloading(argv: Sequence[str], direct: bool, **variables: object) -> Argv:
    """The command with the preload library or without, and with other environment variables."""
    given = {**({"LD_PRELOAD": LIBRARY} if direct else {}), **variables}
    return ["env", "-u", "LD_PRELOAD", *(f"{name}={value}" for name, value in given.items()), *argv]


@dataclass(frozen=True)
class End:
    """A partition as one end of connections; its programs have the preload library if it is direct.

    Their short-lived connections are direct as well, unless they are `learning` to leave those to TCP.
    """

    partition: Partition
    direct: bool
    learning: bool = field(default=False, kw_only=True)

    def _preloading(self, argv: Argv) -> Argv:
        return preloading(argv, self.direct, **({} if self.learning else {"VNICD_SHORT_LIVED": 1}))

    @property
    def ip(self) -> str:
        return self.partition.ip

    def run(self, argv: Argv, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """The finished command; AssertionError with its output when it failed and `check` is set."""
        return self.partition.run(self._preloading(argv), check, timeout)

    def popen(self, argv: Argv, **options: Any) -> subprocess.Popen[bytes]:
        """A running command, which has the process id of the returned object; ended with the fabric at the latest."""
        return self.partition.popen(self._preloading(argv), **options)

    @contextmanager
    def running(self, argv: Argv) -> Iterator[subprocess.Popen[bytes]]:
        """A program with pipes for its input and output, which is killed in the end."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = self.popen(argv, **pipes)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def feed(self, argv: Argv, data: bytes, timeout: float = 60) -> bytes:
        """What the command prints when it gets `data` as its input; it must succeed."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.popen(argv, **pipes)
        out, error = process.communicate(data, timeout=timeout)
        assert process.returncode == 0, f"{argv}: exit {process.returncode}: {error[-500:]!r}"
        return bytes(out)

    @contextmanager
    def serving(
        self, argv: Argv, port: int, log: Path | None = None, stop: signal.Signals = signal.SIGTERM
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A server that listens on `port` already; what it prints goes to `log`, and it must end on `stop`."""
        with (log or Path(os.devnull)).open("ab") as file:
            process = self.popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:

            def ready() -> bool:
                said = log.read_text(errors="replace")[-500:] if log else ""
                assert process.poll() is None, f"{argv} ended with {process.returncode}: {said}"
                return is_listening(process.pid, port)

            wait_until(ready, 20, f"{argv[0]} listens on port {port}")
            yield process
            process.send_signal(stop)
            process.wait(20)
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Ends:
    """A client's end and a server's."""

    client: End
    server: End

    @property
    def fabric(self) -> Fabric:
        return self.client.partition.fabric

    @property
    def direct(self) -> bool:
        """Whether connections between the two are to be direct."""
        return self.client.direct and self.server.direct

    def turned(self) -> Ends:
        """With the client where the server was."""
        return Ends(self.server, self.client)

    def watch(self) -> Watch:
        return Watch(self)


def processes_in(netns: str) -> list[int]:
    """The processes in a network namespace."""
    wanted = Path(netns).stat().st_ino
    pids = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if namespace_of(pid) == wanted]


def regions(pid: int, kind: str = FAR) -> set[int]:
    """The inodes of the regions that a process has mapped in this way."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    fields = [line.split() for line in lines if REGION in line]
    return {int(inode) for _, access, _, _, inode, *_ in fields if access == kind}


def connections_in(partition: Partition) -> set[int]:
    """The direct connections that programs in a partition have, by the inode of the far region."""
    return {inode for pid in processes_in(partition.netns) for inode in regions(pid)}


def shown(fabric: Fabric) -> list[dict[str, Any]]:
    """The direct connections that the hosting daemon finds, as `vnicctl sockets` shows them."""
    return list(fabric.call("sockets.list")["connections"])


class Watch:
    """Looks again and again, from its beginning to its end, how many direct connections both ends have."""

    PAUSE = 0.005

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.most = 0
        """The most that there were at once, at the end that had fewer."""
        self.last = 0
        self._stop = Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            self.check()

    def _look(self) -> None:
        while not self._stop.wait(self.PAUSE):
            ends = self.ends.client.partition, self.ends.server.partition
            self.last = min(len(connections_in(end)) for end in ends)
            self.most = max(self.most, self.last)

    def until(self, condition: Callable[[int], bool], what: str) -> None:
        """Waits until the number of direct connections is such; nothing to wait for where there can be none."""
        if self.ends.direct:
            wait_until(lambda: condition(self.last), 10, what)

    def check(self) -> None:
        """There was a direct connection if both ends have the preload library, and none if one has not."""
        if self.ends.direct:
            assert self.most, "no connection was direct, and both ends have the preload library"
        else:
            assert not self.most, (
                f"{self.most} connections were direct, and not both ends have the preload library"
            )
