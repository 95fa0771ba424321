"""What runs in the daemon: a thread with a socket, by which a test calls the functions of DEEDS."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

from tests.framework.datapath.lingering import lingering
from tests.framework.evil.ends import Ends
from tests.framework.fabric.namespaces import socket_in
from vnicd.partition import main
from vnicd.protocol import registration

_pause = threading.Event()

kept: list[object] = []
"""What must live as long as the daemon does."""


class _Daemon(main.Partition):
    instance: _Daemon

    def run(self) -> int:
        _Daemon.instance = self
        threading.Thread(target=_serve, args=(address(self.name),), daemon=True).start()
        return super().run()


def address(name: str) -> str:
    return f"\0vnicd-evil-{name}"


def corrupt(name: str) -> None:
    main.Partition = _Daemon  # type: ignore[misc]
    main.Endpoint = Ends  # type: ignore[attr-defined]


def tell(netns: str, name: str, deed: str, *words: object) -> str:
    """Have the daemon of a partition, which runs in this namespace, do something; what it says of it. For the test."""
    with socket_in(netns, socket.AF_UNIX, socket.SOCK_STREAM) as sock:
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


def _say(message: registration.Message, fds: tuple[int, ...] = ()) -> None:
    """To the host, with which the honest part connects again each time that it has had enough of us."""
    while True:
        host = _Daemon.instance.host
        with contextlib.suppress(OSError):
            if host is not None:
                registration.send(host, message, fds)
                return
        _pause.wait(0.001)


def _for(seconds: str) -> Iterator[int]:
    """Numbers, for so long."""
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        yield count
        count += 1


def _nested() -> int:
    """A descriptor whose last close takes seconds, in the queue of another."""
    one, other = socket.socketpair()
    slow, needs = lingering()
    socket.send_fds(one, [b"\1"], [slow])
    os.close(slow)
    kept.extend(needs)
    return other.detach()


def _large() -> int:
    """Memory whose last close takes some tenths of a second."""
    fd = os.memfd_create("large")
    os.posix_fallocate(fd, 0, LARGE)
    return fd


LARGE = 512 << 20
SLOW = {"lingering": _nested, "large": _large}


def linger(seconds: str, kind: str) -> int:
    """Descriptors that are slow to close, with messages, well formed and not."""
    count = 0
    for number in _for(seconds):
        fd = SLOW[kind]()
        _say({"op": ("made", "want", "what")[number % 3], "link_id": 1, "ports": []}, (fd,))
        os.close(fd)
        _pause.wait(0.02)
        count = number + 1
    return count


def ring(seconds: str, kind: str) -> int:
    """The same by the doorbells of all links, the host's too; how many tries, as the sockets may refuse them."""
    count = 0
    for _ in _for(seconds):
        for doorbell in list(Ends.instance.doorbells.values()):
            fd = SLOW[kind]()
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(doorbell)) as sock:
                socket.send_fds(sock, [b"\1"], [fd], socket.MSG_DONTWAIT)
            threading.Thread(target=os.close, args=(fd,)).start()  # which takes long if it was refused
            count += 1
        _pause.wait(0.02)
    return count


def _repeat(seconds: str, message: registration.Message) -> int:
    count = 0
    for number in _for(seconds):
        _say(message)
        count = number + 1
    return count


def shout(seconds: str) -> int:
    """Long texts for the log."""
    return _repeat(seconds, {"op": "gone", "peer": 1, "link_id": 1, "reason": "x\n" * 30_000})


def ask(seconds: str) -> int:
    """For links, again and again."""
    return _repeat(seconds, {"op": "want", "ports": list(range(1, 255))})


def churn(seconds: str) -> int:
    """Give back each link as soon as there is one, and ask for it again; how many were begun."""
    before = Ends.instance.makes
    for _ in _for(seconds):
        _say({"op": "idle", "links": Ends.instance.open_links()})
        _say({"op": "want", "ports": list(range(1, 8))})
        _pause.wait(0.002)
    return Ends.instance.makes - before


def fail(seconds: str) -> int:
    """Call each link broken as soon as there is one, ask for it again, and connect anew; how many were begun."""
    main.RECONNECT = 0.001
    before = Ends.instance.makes
    for number in _for(seconds):
        for peer, link_id in Ends.instance.open_links():
            _say({"op": "gone", "peer": peer, "link_id": link_id, "reason": "cursor_back"})
        _say({"op": "want", "ports": list(range(1, 8))})
        host = _Daemon.instance.host
        if host is not None and number % 32 == 31:
            with contextlib.suppress(OSError):
                host.shutdown(socket.SHUT_WR)
        _pause.wait(0.002)
    return Ends.instance.makes - before


def connect(seconds: str, most: str) -> int:
    """Connections to the host that say nothing; how many there are by now."""
    for _ in _for(seconds):
        if len(kept) >= int(most):
            break
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        try:
            sock.connect("partition.sock")
        except OSError:
            sock.close()
            _pause.wait(0.001)
        else:
            kept.append(sock)
    return len(kept)


def reconnect(seconds: str) -> int:
    """Connections that each send a descriptor with what is no message."""
    count = 0
    for number in _for(seconds):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock, contextlib.suppress(OSError):
            sock.connect("partition.sock")
            socket.send_fds(sock, [b"garbage"], [0])
        count = number + 1
    return count


def lose_tap(count: str) -> int:
    """Say many times at once that the interface is gone; the daemon is ended for it."""
    host = _Daemon.instance.host
    with contextlib.suppress(OSError):
        for _ in range(int(count) if host is not None else 0):
            registration.send(host, {"op": "tap_gone"})
    return int(count)


def sip(pause: str) -> str:
    """From now on take one record out of each new link each so many seconds, and no more."""
    Ends.instance.sip(float(pause))
    return "sipping"


_ALL = (linger, ring, shout, ask, churn, fail, connect, reconnect, lose_tap, sip)
DEEDS = {each.__name__: each for each in _ALL}
