"""A process that is nobody's daemon connects to the registration socket again and again, until its input ends.

strangers.py SOCKET    prints a line when it begins
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from collections import deque

MOST = 800


def connect_on(path: str) -> None:
    held: deque[socket.socket] = deque(maxlen=MOST)  # the oldest is closed when it falls out
    while not select.select([sys.stdin], [], [], 0.0005)[0]:
        for _ in range(20):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.connect(path)
                held.append(sock)


if __name__ == "__main__":
    print("begun", flush=True)
    connect_on(sys.argv[1])
