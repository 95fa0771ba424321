"""Programs that have both ends of a connection over loopback, with the library or without it, and give one away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework.programs import PROGRAMS
from tests.framework.sockets import broker
from tests.framework.sockets.direct import LIBRARY, preloading
from tests.framework.waiting import wait_until

Run = Callable[..., str]

PRELUDE = (PROGRAMS / "loopback.py").read_text()
"""What each program begins with: a connection, and a program that echoes what comes by an inherited descriptor."""


def relays(broker: str) -> list[int]:
    """The relay processes that live, of programs that know a broker by this name."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text, environ = status.read_text(), status.with_name("environ").read_bytes()
        except OSError:
            continue
        is_relay = text.startswith("Name:\tvnicd-relay\n") and "State:\tZ" not in text
        if is_relay and f"VNICD_BROKER={broker}".encode() in environ.split(b"\0"):
            found.append(int(status.parent.name))
    return found


@contextmanager
def serving() -> Iterator[str]:
    """A broker of its own for such programs: its name."""
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}: run scripts/setup")
    name = f"vnicd-test-loopback-{os.getpid()}"
    process = broker.start(name)
    try:
        yield name
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def running(direct: bool) -> Iterator[Run]:
    """Runs programs that begin with PRELUDE; each must succeed, and they must leave no relay behind."""

    def run(body: str) -> str:
        variables = {"VNICD_BROKER": name, "VNICD_LOOPBACK": 1, "VNICD_SHORT_LIVED": 1}
        argv = preloading([sys.executable, "-c", PRELUDE + body], direct, **variables)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    with serving() as name:
        yield run
    wait_until(lambda: not relays(name), 10, "the relays have ended")
