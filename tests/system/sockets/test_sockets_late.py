"""A server that accepts late, when its client has gone back to TCP: what was written before arrives as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework.sockets import loopback
from tests.framework.sockets.direct import LIBRARY, preloading
from tests.framework.waiting import wait_until

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY}: run scripts/setup")

SIZE = 4 << 20
"""More than a ring holds, and than TCP takes before the accept."""

SERVER = f"""
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
input()
taken, data = listener.accept()[0], b""
while len(data) < {SIZE} and (more := taken.recv(1 << 20)):
    data += more
print(data == bytes(range(256)) * ({SIZE} // 256), flush=True)
"""

CLIENT = f"""
import os, socket, sys
data = bytes(range(256)) * ({SIZE} // 256)
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
words = [data[:1000], data[1000:300_000], data[300_000:]]
print(os.writev(sock.fileno(), words) if sys.argv[2] == "writev" else os.write(sock.fileno(), data), flush=True)
input()
"""


@contextmanager
def running(code: str, *arguments: object, **variables: object) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    argv = preloading(words, True, VNICD_LOOPBACK=1, VNICD_ANSWER_MS=50, **variables)
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def queued(port: int) -> int:
    """Bytes that TCP holds for whoever accepts at this port; a nudge of the library is a few."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return sum(
        int(words[4].partition(":")[2], 16)
        for words in lines
        if words[1].endswith(f":{port:04X}") and words[3] == established
    )


@pytest.mark.parametrize("how", ["write", "writev"])
def test_a_write_that_waits_sends_all(how: str) -> None:
    with loopback.serving() as broker, running(SERVER, VNICD_BROKER=broker) as server:
        assert server.stdin
        assert server.stdout
        port = int(server.stdout.readline())
        with running(CLIENT, port, how, VNICD_BROKER=broker) as client:
            wait_until(lambda: queued(port) > 50_000, 20, "the client has gone back to TCP")
            server.stdin.write("\n")
            server.stdin.flush()
            assert client.stdout
            assert int(client.stdout.readline()) == SIZE
            assert server.stdout.readline() == "True\n"
