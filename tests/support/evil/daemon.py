"""What runs in the daemon: a thread with a socket, by which a test calls the functions of DEEDS."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

from tests.support.lingering import lingering
from vnicd.daemon import messages, partition

_pause = threading.Event()

kept: list[object] = []
"""What must live as long as the daemon does."""


class _Daemon(partition.Partition):
    instance: _Daemon

    def run(self) -> int:
        _Daemon.instance = self
        threading.Thread(target=_serve, args=(address(self.name),), daemon=True).start()
        return super().run()


def address(name: str) -> str:
    return f"\0vnicd-evil-{name}"


def corrupt(name: str) -> None:
    partition.Partition = _Daemon  # type: ignore[misc]


def tell(name: str, deed: str, *words: object) -> str:
    """Have the daemon of a partition do something; what it says of it. For the test."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(address(name))
        sock.sendall(" ".join(map(str, (deed, *words))).encode())
        return sock.recv(4096).decode()


def _serve(where: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(where)
    listener.listen()
    while True:
        sock, _ = listener.accept()
        with sock:
            deed, *words = sock.recv(4096).decode().split()
            try:
                said = str(DEEDS[deed](*words))
            except Exception as error:
                said = repr(error)
            sock.sendall(said.encode())


def _say(message: messages.Message, fds: tuple[int, ...] = ()) -> None:
    """To the host, with which the honest part connects again each time that it has had enough of us."""
    while True:
        host = _Daemon.instance.host
        with contextlib.suppress(OSError):
            if host is not None:
                messages.send(host, message, fds)
                return
        _pause.wait(0.001)


def _lingering() -> int:
    """A descriptor whose last close takes seconds, in the queue of another."""
    one, other = socket.socketpair()
    slow, needs = lingering()
    socket.send_fds(one, [b"\1"], [slow])
    os.close(slow)
    kept.extend(needs)
    return other.detach()


def linger(count: str) -> int:
    """Such descriptors with messages, well formed and not."""
    for number in range(int(count)):
        fd = _lingering()
        _say({"op": ("made", "want", "what")[number % 3], "link_id": 1, "ports": []}, (fd,))
        os.close(fd)
    return int(count)


def shout(seconds: str) -> int:
    """Long texts for the log."""
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        _say({"op": "gone", "peer": 1, "link_id": 1, "reason": "x\n" * 30_000})
        count += 1
    return count


def ask(seconds: str) -> int:
    """For links, again and again."""
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        _say({"op": "want", "ports": list(range(1, 255))})
        count += 1
    return count


def connect(count: str) -> int:
    """Connections to the host that say nothing."""
    for number in range(int(count)):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        try:
            sock.connect("partition.sock")
        except OSError:
            return number
        kept.append(sock)
    return int(count)


def reconnect(count: str) -> int:
    """Connections that each send a descriptor with what is no message."""
    for _ in range(int(count)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock, contextlib.suppress(OSError):
            sock.connect("partition.sock")
            socket.send_fds(sock, [b"garbage"], [0])
    return int(count)


def lose_tap(count: str) -> int:
    """Say many times at once that the interface is gone; the daemon is ended for it."""
    host = _Daemon.instance.host
    with contextlib.suppress(OSError):
        for _ in range(int(count) if host is not None else 0):
            messages.send(host, {"op": "tap_gone"})
    return int(count)


DEEDS = {each.__name__: each for each in (linger, shout, ask, connect, reconnect, lose_tap)}
