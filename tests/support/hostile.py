"""A peer of the provider that lies, and honest programs under the provider that have to bear it."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.support import honest, provider
from tests.support.direct import preloading
from tests.support.honest import LOCAL
from vnicd import sockets
from vnicd.kernel import halves
from vnicd.sockets import Op

PROGRAMS = Path(honest.__file__)
ANSWER_MAGIC = 0x72776E41


class Asking:
    """An honest client."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid

    def __call__(self, words: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(words.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().strip()
        if answer.startswith("Traceback"):
            raise AssertionError(f"{words}: {self.process.stdout.read().decode()}")
        return answer

    def attempt(self, port: int, blocking: bool = False) -> str:
        return self(f"attempt {port} {int(blocking)}")


@contextmanager
def program(role: str, *wrapper: str, **variables: object) -> Iterator[subprocess.Popen[bytes]]:
    """An honest program under the provider, which must live to the end."""
    argv = preloading([*wrapper, sys.executable, str(PROGRAMS), role], True, VNICD_LOOPBACK=1, **variables)
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
        assert process.poll() is None, f"{role} has ended with {process.returncode}"
    finally:
        process.kill()
        process.communicate()


@contextmanager
def echo_server(
    role: str, *wrapper: str, **variables: object
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An honest server and its port."""
    with program(role, *wrapper, **variables) as process:
        assert process.stdout
        yield process, int(process.stdout.readline())


def holdings(pid: int) -> tuple[int, int]:
    """Descriptors and halves of a process, without those of idle pairs (cext/preload/memory/pool.c)."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    kept = sum(1 for link in _links(pid) if "vnicd-half" in link)
    return len(_links(pid)) - kept, maps.count("vnicd-half") - 2 * len(idle_pairs(pid))


def _links(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(path.readlink()))
    return found


def idle_pairs(pid: int) -> list[int]:
    """Of each pair of halves that waits for its next connection: how often it was used."""
    uses = []
    device = halves.memory_device()
    for place in halves.mappings("/proc", pid, device):
        if place.kind != halves.HALF:
            continue
        with suppress(OSError, ValueError):
            page = halves.page("/proc", place)
            if sockets.parse_half(page).state & sockets.IDLE:
                uses.append(int(struct.unpack_from("=Q", page, provider.HALF_OFFSETS["use"])[0]))
    return uses


def resident(pid: int, *names: str) -> int:
    """Kilobytes, of these lines of smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in names)


class Liar:
    """One end of a connection, whose half says what we like; `bell` and `half`: descriptors to show instead."""

    def __init__(self, bell: int = -1, half: int = -1) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 5, 0))
        self.memfd = half if half >= 0 else provider.make_half()
        self.bell = bell if bell >= 0 else self.theirs.fileno()
        self.far: mmap.mmap | None = None
        self.door = -1
        self.memory: mmap.mmap | None = None
        if half < 0:
            self.memory = mmap.mmap(self.memfd, 0)

    def show(self, page: bytes) -> None:
        assert self.memory is not None
        self.memory[: len(page)] = page

    def lie(self, **fields: int) -> None:
        """Other values for fields of our half, and the bell."""
        assert self.memory is not None
        for name, value in fields.items():
            at = (sockets.OFFSETS | provider.HALF_OFFSETS)[name]
            wide = name in ("head", "origin", "tail", "large_from", "large_origin")
            struct.pack_into(
                "=Q" if wide else "=I", self.memory, at, value & ((1 << (64 if wide else 32)) - 1)
            )
        self.ring()

    def ring(self, data: bytes = b"x") -> None:
        with suppress(OSError):
            self.ours.send(data, socket.MSG_DONTWAIT)

    def send_fds(self, data: bytes, fds: Sequence[int]) -> None:
        with suppress(OSError):
            socket.send_fds(self.ours, [data], fds, socket.MSG_DONTWAIT)

    def answered(self) -> None:
        """Take the far end's answer: its half, and its door if it has one."""
        data, fds, _, _ = socket.recv_fds(self.ours, 64, 4)
        assert data, "the far end has hung up"
        self.far = mmap.mmap(fds[0], 0, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(fds[0])
        self.door = fds[1] if len(fds) > 1 else -1
        self.ticket = struct.unpack_from("=IIQ", data)[2]

    def far_head(self) -> int:
        assert self.far is not None
        return int(struct.unpack_from("=Q", self.far, sockets.OFFSETS["head"])[0])

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        for fd in (self.memfd, self.door):
            with suppress(OSError):
                os.close(fd)


def where(port: int) -> sockets.Address:
    return sockets.address(LOCAL, port)


@contextmanager
def connected(broker: str, port: int, liar: Liar) -> Iterator[socket.socket]:
    """A TCP connection to the port, for which the liar's half is offered."""
    liar.show(provider.half_page(where(1), where(port)))
    with closing(provider.Program(broker)) as us, provider.bound(LOCAL) as tcp:
        source = provider.address_of(tcp)
        reply, _ = us.ask(Op.OFFER, source, where(port), [liar.bell, liar.memfd, tcp.fileno()])
        assert reply.why == 0
        tcp.connect((LOCAL, port))
        try:
            yield tcp
        finally:
            liar.close()
