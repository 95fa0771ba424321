"""Honest programs for tests of the preload, which know nothing of it: `python honest.py ROLE [ADDRESS]`.

serve echoes at a port that it prints, wait does so with an event loop, ask does what its input says; all at ADDRESS.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import selectors
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

LOCAL = "127.0.0.1"
PLACE = LOCAL if __name__ != "__main__" or len(sys.argv) < 3 else sys.argv[2]


def serve() -> None:
    """A thread for each connection, which blocks."""

    def echo(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while data := sock.recv(65536):
                sock.sendall(data)

    listener = socket.create_server((PLACE, 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    while True:
        with suppress(OSError):
            sock, _ = listener.accept()
            Thread(target=echo, args=[sock], daemon=True).start()


def wait() -> None:
    """One thread for all connections, which never blocks but to wait; what can't be written is dropped."""
    listener = socket.create_server((PLACE, 0), backlog=4096)
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
    """Each line of input is a method of Client and its arguments; says in a line what came of it."""
    client = Client()
    for line in sys.stdin:
        name, *arguments = line.split()
        print(getattr(client, name)(*map(int, arguments)), flush=True)


PORTS = struct.Struct("=16x2xH20x2xH")
"""Of the maker's end and of the other one, in the control page of a region."""


def is_direct(sock: socket.socket) -> bool:
    """Whether one of the regions that this process has made is of this connection."""
    ends = sock.getsockname()[1], sock.getpeername()[1]
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            if "vnicd-region" in line and " rw-s " in line:
                memory.seek(int(line.split("-")[0], 16))
                if PORTS.unpack(memory.read(PORTS.size)) == ends:
                    return True
    return False


def exchange(sock: socket.socket) -> None:
    sock.sendall(b"hello")
    assert sock.recv(5) == b"hello"


class Client:
    def __init__(self) -> None:
        self.kept: socket.socket | None = None
        self.many: list[socket.socket] = []

    def open(self, port: int) -> str:
        self.kept = socket.create_connection((PLACE, port), 5)
        return "open"

    def echo(self) -> bool:
        """Whether the connection that was opened works."""
        assert self.kept
        data = os.urandom(100_000)
        writer = Thread(target=self.kept.sendall, args=[data])
        writer.start()
        echoed = b""
        while len(echoed) < len(data):
            echoed += self.kept.recv(65536) or b"the end of the stream " * 10_000
        writer.join()
        return echoed == data

    def attempt(self, port: int, blocking: int) -> str:
        """What comes of another connection, within a second and some."""
        try:
            with socket.create_connection((PLACE, port), 5) as sock:
                sock.settimeout(None if blocking else 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 1, 0))
                sock.sendall(b"hello")
                return sock.recv(100).decode(errors="replace")
        except OSError as error:
            return type(error).__name__

    def kind(self, port: int) -> str:
        """What another connection is."""
        with socket.create_connection((PLACE, port), 5) as sock:
            exchange(sock)
            return "direct" if is_direct(sock) else "plain"

    def fill(self, port: int, count: int) -> str:
        """So many connections more, or as many as there may be: how many there are, and why no more."""
        why = "all"
        for _ in range(count):
            try:
                sock = socket.create_connection((PLACE, port), 5)
            except OSError as error:
                why = errno.errorcode.get(error.errno or 0, "?")
                break
            self.many.append(sock)
            exchange(sock)
        return f"{len(self.many)} {why}"

    def each(self) -> str:
        """Bytes through each of them."""
        for sock in self.many:
            exchange(sock)
        return "done"

    def drop(self) -> str:
        for sock in self.many:
            sock.close()
        self.many.clear()
        return "done"

    def burst(self, port: int, count: int) -> str:
        """So many more or as many as there may be, and only then bytes through them: how many there are, and work."""
        while len(self.many) < count:
            try:
                self.many.append(socket.create_connection((LOCAL, port)))
            except OSError:
                break
        for sock in self.many:
            sock.sendall(b"hello")
        return f"{len(self.many)} {self.served(self.many)}"

    def wait(self, port: int, count: int) -> int:
        """So many at once that the server may have to let some wait until others are closed; how many were served."""
        waiting = []
        for _ in range(count):
            sock = socket.create_connection((PLACE, port))
            sock.sendall(b"hello")
            waiting.append(sock)
        return self.served(waiting, end=True)

    def served(self, socks: list[socket.socket], end: bool = False) -> int:
        """How many are answered, in whatever order; they end one after the other if `end` is set."""
        poll = select.poll()
        waiting = {sock.fileno(): sock for sock in socks}
        for sock in socks:
            poll.register(sock, select.POLLIN)
        served = 0
        while waiting and (ready := poll.poll(5000)):
            for fd, _ in ready:
                poll.unregister(fd)
                sock = waiting.pop(fd)
                with suppress(OSError):
                    served += sock.recv(5) == b"hello"
                if end:
                    sock.close()
        return served

    def short(self, port: int, count: int) -> str:
        """So many connections, one after the other."""
        for _ in range(count):
            with socket.create_connection((PLACE, port)) as sock:
                exchange(sock)
        return "done"

    def thin(self, megabytes: int) -> str:
        """No more address space than this from now on."""
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20), resource.RLIM_INFINITY))
        return "done"


ROLES: dict[str, Callable[[], None]] = {"serve": serve, "wait": wait, "ask": ask}

if __name__ == "__main__":
    ROLES[sys.argv[1]]()
