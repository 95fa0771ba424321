"""A broker without a fabric: `python -m tests.framework.sockets.broker NAME [--partition ...]...`.

NAME is the abstract name to listen at. A partition is NUMBER:NAMESPACE:ADDRESS,ADDRESS..., an empty namespace for the
current one; without any there is partition 1 in the current namespace with 127.0.0.1 and ::1. It says "ready" when it
serves, and ends by a signal, or with its standard input if that is a pipe.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.framework.waiting import is_stopped, wait_for_output, wait_until
from vnicd.host.broker.broker import OFFER_TIMEOUT_S, Broker
from vnicd.host.broker.namespace import Place

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
NAME = f"vnicd-test-{os.getpid()}"
"""Where the broker of a session of unit tests listens."""

HERE: Mapping[int, Place] = {1: Place(None, ("127.0.0.1", "::1"))}


def at_once(work: Callable[[], T]) -> Awaitable[T]:
    """What the broker asks of the kernel, done while it waits."""

    async def done() -> T:
        return work()

    return done()


def place(text: str) -> tuple[int, Place]:
    number, netns, addresses = text.split(":", 2)
    return int(number), Place(netns or None, tuple(filter(None, addresses.split(","))))


async def serve(name: str, places: Mapping[int, Place], timeout: float) -> None:
    """Serve until told to end; exit code 1 when the name is not to be had."""
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # from start(), and it ends with that process
        loop.add_reader(0, end.set)
    broker = Broker(at_once, name, timeout)
    await broker.update(places)
    if len(broker.namespaces) == 0:
        sys.exit(1)
    print("ready", flush=True)
    await end.wait()
    broker.close()


def command(name: str, places: Sequence[str] = (), timeout: float = OFFER_TIMEOUT_S) -> list[str]:
    """What runs a broker in a process of its own, in ROOT."""
    argv = [sys.executable, "-m", "tests.framework.sockets.broker", name, f"--timeout={timeout}"]
    for text in places:
        argv += ["--partition", text]
    return argv


def start(name: str, places: Sequence[str] = (), timeout: float = OFFER_TIMEOUT_S) -> subprocess.Popen[bytes]:
    """A broker that serves already; it ends with this process at the latest."""
    pipe = subprocess.PIPE
    argv = command(name, places, timeout)
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=ROOT, bufsize=0)
    assert process.stdout
    wait_for_output(process.stdout, b"ready", 10)
    return process


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """What is sent to it meanwhile waits to be read."""
    process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: is_stopped(process.pid), 5, "all threads have stopped")
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a directory of descriptors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--partition", type=place, action="append", default=[])
    parser.add_argument("--timeout", type=float, default=OFFER_TIMEOUT_S)
    words = parser.parse_args()
    asyncio.run(serve(words.name, dict(words.partition) or HERE, words.timeout))


if __name__ == "__main__":
    main()
