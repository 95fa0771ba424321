"""Direct sockets: memory that is used again stays between the two processes that had it, and loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import broker
from tests.support.direct import LIBRARY, preloading
from tests.support.hostile import idle_pairs
from tests.support.waiting import wait_until

NAME = f"vnicd-test-pool-{os.getpid()}"

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY}: run scripts/setup")

SERVER = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=100)
children = int(sys.argv[2])
print(listener.getsockname()[1], flush=True)
for _ in range(children):
    if os.fork() == 0:
        break
while True:
    sock, _ = listener.accept()
    with sock:
        while data := sock.recv(65536):
            sock.sendall(data)
            if data.endswith(b"."):
                break
"""

CLIENT = """
import random, socket, sys
from threading import Thread
def ask(seed, count):
    rng = random.Random(seed)
    for number in range(count):
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as sock:
            data = rng.randbytes(rng.choice((1, 100, 5000))).replace(b".", b",") + b"."
            sock.sendall(data)
            echo = b""
            while len(echo) < len(data):
                echo += sock.recv(65536) or exit("it ended early")
            assert echo == data
    done.append(seed)
for line in sys.stdin:
    threads, count = map(int, line.split())
    done = []
    all = [Thread(target=ask, args=[seed, count]) for seed in range(threads)]
    [each.start() for each in all], [each.join() for each in all]
    print("done" if len(done) == threads else "failed", flush=True)
"""

FORKING = """
import os, random, select, socket, sys
from threading import Thread
def take(sock, poll):
    while True:
        try:
            return sock.recv(65536)
        except BlockingIOError:
            assert poll.poll(10_000), "nothing comes"
def ask(seed):
    rng = random.Random(seed)
    for number in range(60):
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as sock:
            sock.setblocking(False)
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            data = rng.randbytes(rng.choice((1, 100, 20_000))).replace(b".", b",") + b"."
            sock.sendall(data)
            if rng.randrange(10) == 0:
                if (pid := os.fork()) == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
            echo = b""
            while len(echo) < len(data):
                echo += take(sock, poll) or exit("it ended early")
            assert echo == data
    done.append(seed)
done = []
all = [Thread(target=ask, args=[seed]) for seed in range(12)]
[each.start() for each in all], [each.join() for each in all]
print("done" if len(done) == len(all) else "failed")
"""


@pytest.fixture(autouse=True)
def serving() -> Iterator[None]:
    process = broker.start(NAME)
    yield
    process.kill()
    process.communicate()


@contextmanager
def running(program: str, *words: object, **variables: object) -> Iterator[subprocess.Popen[bytes]]:
    """Under the provider, in a process group of its own that ends with it."""
    argv = preloading(
        [sys.executable, "-c", program, *map(str, words)],
        True,
        VNICD_LOOPBACK=1,
        VNICD_BROKER=NAME,
        **variables,
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, bufsize=0, process_group=0) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


@contextmanager
def server(port: int = 0, children: int = 0) -> Iterator[tuple[int, int]]:
    """Its process and its port."""
    with running(SERVER, port, children) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())


def ask(client: subprocess.Popen[bytes], threads: int, count: int) -> None:
    assert client.stdin and client.stdout
    client.stdin.write(f"{threads} {count}\n".encode())
    assert client.stdout.readline() == b"done\n"


def shared(pid: int) -> set[str]:
    """The inodes of the halves that a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in maps if "memfd:vnicd-half" in line}


def test_one_after_the_other() -> None:
    with server() as (pid, port), running(CLIENT, port) as client:
        ask(client, 1, 300)
        assert max(idle_pairs(client.pid)) > 100
        assert len(idle_pairs(client.pid)) < 5
        assert wait_until(lambda: shared(client.pid) == shared(pid), 5, "both have the same")


@pytest.mark.parametrize("children", [0, 1, 3])
def test_whoever_accepts_it(children: int) -> None:
    """A half goes to and fro between processes that share a listener."""
    with server(children=children) as (_, port), running(CLIENT, port) as client:
        for _ in range(3):
            ask(client, 6, 300)
        assert max(idle_pairs(client.pid)) > 1


def test_forks_while_others_connect() -> None:
    """What is offered at that moment goes back to TCP, or is direct, without a byte or a wake-up lost."""
    with server(children=1) as (_, port), running(FORKING, port) as client:
        assert client.communicate(timeout=90)[0] == b"done\n"


def test_another_listener_gets_other_memory() -> None:
    with running(CLIENT, 0), server() as (first, port), running(CLIENT, port) as client:
        ask(client, 2, 100)
        known = shared(first)
        assert known & shared(client.pid)
        os.kill(first, 9)
        wait_until(lambda: not Path(f"/proc/{first}/maps").read_bytes(), 5, "the first is gone")
        with server(port) as (second, _):
            ask(client, 2, 100)
            assert shared(second) & shared(client.pid)
            assert not shared(second) & known


OFTEN_ASLEEP = """
import ctypes, os, select, socket, struct, time
from pathlib import Path
from threading import Thread
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.sendall(b"1"), server.recv(1), server.sendall(b"2"), client.recv(1)
lines = [line for line in open("/proc/self/maps") if "vnicd-half" in line and "rw-s" in line]
places = [int(line.split("-")[0], 16) for line in lines]
half = next(at for at in places if ctypes.string_at(at + 12, 1) == bytes([1]))
def wants():
    return struct.unpack("=I", ctypes.string_at(half + 256, 4))[0]
def is_asleep():
    return wants() & 255 and Path(f"/proc/self/task/{os.getpid()}/stat").read_text().rsplit(")", 1)[1][1] == "S"
def send():
    while not is_asleep():
        os.sched_yield()
    numbers.append(wants() >> 16)
    client.sendall(b"x")
def wait():
    sender = Thread(target=send)
    sender.start()
    began = time.monotonic()
    assert select.select([server], [], [], 20)[0]
    assert time.monotonic() - began < 15, f"nobody woke who slept: {numbers}"
    sender.join()
    server.recv(1)
numbers = []
wait()
while True:
    select.select([server], [], [], 3e-5)
    if ((wants() >> 16) + 1 - numbers[0]) % 65536 == 0:
        break
wait()
"""


def test_who_has_slept_often_is_woken() -> None:
    """The number of a sleep is not one that was answered before, when 16 bits of it come again."""
    with running(OFTEN_ASLEEP, VNICD_POLL_US=0) as client:
        assert client.wait(60) == 0
