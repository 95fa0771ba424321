"""A peer of the preload library that lies, and honest programs under the preload library that have to bear it."""

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

from tests.framework.programs import honest
from tests.framework.programs.honest import LOCAL
from tests.framework.sockets import preload
from tests.framework.sockets.direct import preloading
from vnicd.sockets import abi
from vnicd.sockets.abi import Op

PROGRAMS = Path(honest.__file__)
ANSWER_MAGIC = 0x72776E41
ANSWER = struct.Struct("=II")


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
    """An honest program under the preload library, which must live to the end."""
    variables = {"VNICD_LOOPBACK": 1, "VNICD_SHORT_LIVED": 1, **variables}
    argv = preloading([*wrapper, sys.executable, str(PROGRAMS), role], True, **variables)
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
    """How many descriptors and regions a process has."""
    return len(_links(pid)), Path(f"/proc/{pid}/maps").read_text().count("vnicd-region")


def _links(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(path.readlink()))
    return found


def resident(pid: int, *names: str) -> int:
    """Kilobytes, of these lines of smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in names)


class Liar:
    """One end of a connection, whose region says what we like; `doorbell` and `region`: descriptors to show instead."""

    def __init__(self, doorbell: int = -1, region: int = -1) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 5, 0))
        self.memfd = region if region >= 0 else preload.make_stream_region()
        self.doorbell = doorbell if doorbell >= 0 else self.theirs.fileno()
        self.far: mmap.mmap | None = None
        self.memory: mmap.mmap | None = None
        if region < 0:
            self.memory = mmap.mmap(self.memfd, 0)

    def show(self, page: bytes) -> None:
        assert self.memory is not None
        self.memory[: len(page)] = page

    def lie(self, **fields: int) -> None:
        """Other values for fields of our region, and the doorbell."""
        assert self.memory is not None
        for name, value in fields.items():
            at = (abi.OFFSETS | preload.REGION_OFFSETS)[name]
            wide = name not in ("state", "decision", "mode", "has_large")
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
        """Take the far end's answer: its region."""
        data, fds, _, _ = socket.recv_fds(self.ours, ANSWER.size, 4)
        assert ANSWER.unpack(data) == (ANSWER_MAGIC, abi.VERSION)
        self.far = mmap.mmap(fds[0], 0, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(fds[0])

    def far_head(self) -> int:
        assert self.far is not None
        return int(struct.unpack_from("=Q", self.far, abi.OFFSETS["head"])[0])

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        with suppress(OSError):
            os.close(self.memfd)


def where(port: int) -> abi.Address:
    return abi.address(LOCAL, port)


@contextmanager
def connected(broker: str, port: int, liar: Liar) -> Iterator[socket.socket]:
    """A TCP connection to the port, for which the liar's region is offered."""
    liar.show(preload.stream_region_page(where(1), where(port)))
    with closing(preload.Program(broker)) as us, preload.bound(LOCAL) as tcp:
        source = preload.address_of(tcp)
        reply, _ = us.ask(Op.OFFER, source, where(port), [liar.doorbell, liar.memfd, tcp.fileno()])
        assert reply.reason == 0
        tcp.connect((LOCAL, port))
        try:
            yield tcp
        finally:
            liar.close()
