"""Both sides of tests with a hostile peer: honest programs under the provider, and one who plays the provider and lies.

`python tests/support/hostile.py serve` echoes at a port that it prints, `... wait` does so with an event loop, and
`... ask` does what its input says: see the functions of that name. They know nothing of the provider.
"""

from __future__ import annotations

import mmap
import os
import selectors
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

LOCAL = "127.0.0.1"
ORIGIN = 136
"""Where the origin of struct vn_half is."""

ANSWER_MAGIC = 0x72776E41


def serve() -> None:
    """A thread for each connection, which blocks."""

    def echo(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while data := sock.recv(65536):
                sock.sendall(data)

    listener = socket.create_server((LOCAL, 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    while True:
        with suppress(OSError):
            sock, _ = listener.accept()
            Thread(target=echo, args=[sock], daemon=True).start()


def wait() -> None:
    """One thread for all connections, which never blocks but to wait; what can't be written is dropped."""
    listener = socket.create_server((LOCAL, 0), backlog=4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    loop = selectors.DefaultSelector()
    loop.register(listener, selectors.EVENT_READ)

    def look(sock: socket.socket) -> None:
        if sock is listener:
            with suppress(OSError):
                new, _ = listener.accept()
                new.setblocking(False)
                loop.register(new, selectors.EVENT_READ)
            return
        try:
            if data := sock.recv(65536):
                sock.send(data)
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        loop.unregister(sock)
        sock.close()

    while True:
        for key, _ in loop.select():
            look(key.fileobj)  # type: ignore[arg-type]


def ask() -> None:
    """`open PORT` makes a connection, `echo` uses it, `try PORT` uses another one and tells what came of it."""
    kept = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "open":
            kept = socket.create_connection((LOCAL, int(words[1])), 5)
            outcome = "open"
        elif words[0] == "echo":
            assert kept
            data = os.urandom(100_000)
            writer = Thread(target=kept.sendall, args=[data])
            writer.start()
            echoed = b""
            while len(echoed) < len(data):
                echoed += kept.recv(65536) or b"the end of the stream " * 10_000
            writer.join()
            outcome = str(echoed == data)
        else:
            outcome = attempt(int(words[1]), len(words) > 2)
        print(outcome, flush=True)


def attempt(port: int, blocking: bool) -> str:
    """What comes of a connection, within a second and some."""
    try:
        with socket.create_connection((LOCAL, port), 5) as sock:
            sock.settimeout(None if blocking else 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 1, 0))
            sock.sendall(b"hello")
            return sock.recv(100).decode(errors="replace")
    except OSError as error:
        return type(error).__name__


class Asking:
    """An honest client."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid

    def __call__(self, words: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(words.encode() + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip()

    def attempt(self, port: int, blocking: bool = False) -> str:
        return self(f"try {port}{' blocking' * blocking}")


@contextmanager
def honest(role: str, *wrapper: str, **variables: object) -> Iterator[subprocess.Popen[bytes]]:
    """An honest program under the provider, which must live to the end."""
    from tests.support.direct import preloading  # noqa: PLC0415 - the programs themselves are without a path

    argv = preloading([*wrapper, sys.executable, __file__, role], True, VNICD_LOOPBACK=1, **variables)
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
    with honest(role, *wrapper, **variables) as process:
        assert process.stdout
        yield process, int(process.stdout.readline())


def holdings(pid: int) -> tuple[int, int]:
    """Descriptors and halves of a process."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), maps.count("vnicd-half")


def resident(pid: int, *names: str) -> int:
    """Kilobytes, of these lines of smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in names)


class Liar:
    """One end of a connection, whose half says what we like. `bell` and `half` are descriptors, if not as they should be."""

    def __init__(self, bell: int = -1, half: int = -1) -> None:
        from tests.support import provider  # noqa: PLC0415 - as above

        self.ours, self.theirs = socket.socketpair()
        self.ours.settimeout(5)
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
        from vnicd import sockets  # noqa: PLC0415 - as above

        assert self.memory is not None
        for name, value in fields.items():
            at = ORIGIN if name == "origin" else sockets.OFFSETS[name]
            wide = name in ("head", "origin", "tail")
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

    def answered(self) -> struct.Struct:
        """Take the far end's answer: its half, and its door if it has one; returns nothing of use but the ticket."""
        data, fds, _, _ = socket.recv_fds(self.ours, 64, 4)
        assert data, "the far end has hung up"
        self.far = mmap.mmap(fds[0], 0, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(fds[0])
        self.door = fds[1] if len(fds) > 1 else -1
        self.ticket = struct.unpack_from("=IIQ", data)[2]
        return struct.Struct("=Q")

    def far_head(self) -> int:
        from vnicd import sockets  # noqa: PLC0415 - as above

        assert self.far is not None
        return int(struct.unpack_from("=Q", self.far, sockets.OFFSETS["head"])[0])

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        for fd in (self.memfd, self.door):
            with suppress(OSError):
                os.close(fd)


ROLES: dict[str, Callable[[], None]] = {"serve": serve, "wait": wait, "ask": ask}

if __name__ == "__main__":
    ROLES[sys.argv[1]]()
