"""Programs in a partition that ask the broker without end, each on a connection of its own.

asking.py CONNECTIONS SECONDS [READS]    READS is 0 to let the answers stand; prints a line when it begins, and
                                         at the end how often it has asked
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from vnicd.sockets.abi import BROKER_NAME, Op, request


def connected(count: int) -> list[socket.socket]:
    """As many as there can be."""
    pause, made = threading.Event(), []
    deadline = time.monotonic() + 20
    while len(made) < count and time.monotonic() < deadline:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        try:
            sock.connect("\0" + BROKER_NAME)
            made.append(sock)
        except BlockingIOError:
            sock.close()
            pause.wait(0.002)
    return made


def ask(socks: list[socket.socket], seconds: float, reads: bool) -> int:
    count, end, data = 0, time.monotonic() + seconds, request(Op.HELLO)
    while time.monotonic() < end:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(data)
                count += 1
            if reads:
                with contextlib.suppress(OSError):
                    for fd in socket.recv_fds(sock, 256, 8)[1]:
                        os.close(fd)
    return count


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    open_ones = connected(int(sys.argv[1]))
    print("begun", flush=True)
    print(ask(open_ones, float(sys.argv[2]), sys.argv[3:] != ["0"]))
