"""Lanes: a player for each combination of ends, which plays one program after the other, and the namespace for them."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fcntl import fcntl
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.conformance.program import PLAYER, Program
from tests.conformance.trace import OUTCOME, Trace
from tests.framework.sockets import broker

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "vnicd/libvnicd-sockets.so"

ENDS = {"none": (False, False), "both": (True, True), "client": (True, False), "server": (False, True)}
"""Which ends have the library, by the name of the combination."""

CLONE_NEWNET = 0x40000000
BUDGET_MS, CONFIRM_MS = 500, 1500
"""How long a call may take that returns at once over the kernel's TCP; and when a difference is looked for again."""

_REQUEST = struct.Struct("=6I")
_REPLY = struct.Struct("=2I2i")
_F_SETPIPE_SZ = 1031

_SETTINGS = {
    "ipv4/ip_local_port_range": "2048 65000",
    "ipv4/tcp_max_tw_buckets": "32768",
    "ipv4/tcp_wmem": "4096 65536 65536",
    "ipv4/tcp_rmem": "4096 131072 131072",
    "core/somaxconn": "4096",
}
"""Room for what a minute leaves in TIME_WAIT, as a FIN would meet a reset without it, but ports are left over; and
buffers that do not grow, so that 4 MiB fill them."""


class PlayerFailed(Exception):
    """The player itself did not do its work."""


def build(folder: Path) -> Path:
    """The player, compiled if it is older than its sources."""
    program = folder / "player"
    sources = sorted(PLAYER.glob("*.[ch]"))
    if program.exists() and program.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return program
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"player.{os.getpid()}"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
    units = [source for source in sources if source.suffix == ".c"]
    subprocess.run(["gcc", *flags, "-o", fresh, *units], check=True)
    fresh.rename(program)
    return program


def enter_namespace() -> None:
    """A namespace without a name for this process and its children, where each segment is acknowledged at once."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    _ip("link set lo up")
    for target in ("127.0.0.0/8", "127.0.0.1"):
        _ip(
            f"route replace table local local {target} dev lo proto kernel scope host src 127.0.0.1 quickack 1"
        )
    _ip("-6 route del table local local ::1 dev lo")
    _ip("-6 route add table local local ::1 dev lo quickack 1")
    for name, value in _SETTINGS.items():
        (Path("/proc/sys/net") / name).write_text(value)


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


class Lane:
    """A player with the library at some ends."""

    def __init__(
        self, player: Path, ends: str, library: Path, broker_name: str, variables: Sequence[str] = ()
    ) -> None:
        self.ends = ends
        client, server = (str(library) if with_library else "" for with_library in ENDS[ends])
        environment = {
            **{name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
            "PLAYER_CLIENT_PRELOAD": client,
            "PLAYER_SERVER_PRELOAD": server,
            "VNICD_LOOPBACK": "1",
            "VNICD_SHORT_LIVED": "1",
            "VNICD_BROKER": broker_name,
            **dict(each.split("=", 1) for each in variables),
        }
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([player], stdin=pipe, stdout=pipe, env=environment)
        self._in, self._out = self._pipe(self.process.stdin), self._pipe(self.process.stdout)
        self._counts: list[int] = []

    @staticmethod
    def _pipe(file: IO[bytes] | None) -> IO[bytes]:
        assert file
        fcntl(file, _F_SETPIPE_SZ, 1 << 20)
        return file

    def send(
        self, program: Program, hint: Trace | None = None, budget_ms: int = BUDGET_MS, pause_ms: int = 0
    ) -> None:
        """Has a program played, with what is known of its outcome."""
        count = len(program.steps)
        head = _REQUEST.pack(count, hint is not None, budget_ms, pause_ms * 1000, *program.threads)
        self._in.write(head + program.packed + (hint.raw if hint else b""))
        self._in.flush()
        self._counts.append(count)

    def receive(self, timeout: float = 120) -> Trace:
        """The trace of the program that was sent first of those without one."""
        count = self._counts.pop(0)
        deadline = time.monotonic() + timeout
        steps, direct, client, server = _REPLY.unpack(self._read(_REPLY.size, deadline))
        raw = self._read(steps * OUTCOME.size, deadline)
        if steps != count:
            raise PlayerFailed(f"{self.ends}: {steps} outcomes for {count} steps")
        return Trace(raw, (client, server), direct)

    def _read(self, size: int, deadline: float) -> bytes:
        data = b""
        fd = self._out.fileno()
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise PlayerFailed(f"{self.ends}: the player did not answer in time")
            piece = os.read(fd, size - len(data))
            if not piece:
                raise PlayerFailed(f"{self.ends}: the player ended with {self.process.wait(10)}")
            data += piece
        return data

    def pin(self, cpus: Collection[int]) -> None:
        """Has the player's processes, and those that they make from now on, run on these CPUs."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.sched_setaffinity(each, cpus)

    def play(
        self, program: Program, hint: Trace | None = None, budget_ms: int = BUDGET_MS, pause_ms: int = 0
    ) -> Trace:
        self.send(program, hint, budget_ms, pause_ms)
        return self.receive()

    def close(self) -> None:
        self.process.kill()
        self._in.close()
        self._out.close()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def lanes(
    library: Path, ends: Sequence[str], player: Path, variables: Sequence[str] = ()
) -> Iterator[dict[str, Lane]]:
    """The lane without the library and those of `ends`, with a broker, in this process's namespace."""
    name = f"vnicd-test-conformance-{os.getpid()}"
    with ExitStack() as stack:
        if ends:
            process = broker.start(name)
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
        yield {
            each: stack.enter_context(Lane(player, each, library, name, variables))
            for each in ("none", *ends)
        }
