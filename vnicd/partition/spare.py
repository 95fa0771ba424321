"""A daemon that was started before its partition was asked for: it waits for its name, and is like any other then."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from vnicd.process import logs, privileges
from vnicd.protocol import registration

STDIN = 0


def wait() -> str | None:
    """Wait until the hosting daemon says whose daemon we are, by standard input; None if it ends before that."""
    start = _place_of_name()
    _rename(start, registration.NOBODYS)  # if that fails, it does before anybody counts on us
    with socket.socket(fileno=os.dup(STDIN)) as sock:
        got = registration.receive(sock)
    if got is None:
        return None
    message, fds = got
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, STDIN)
    logs.take_over(fds[0])
    registration.close_all([nothing, *fds])
    os.environ[privileges.VARIABLE] = str(message["user"])
    name = str(message["name"])
    _rename(start, name)
    return name


def _place_of_name() -> int:
    """Where in our memory the last word of our command line is (proc(5): arg_end)."""
    end = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[46])
    return end - len(registration.NOBODYS) - 1


def _rename(start: int, name: str) -> None:
    """What `ps` shows is what a hosting daemon finds us by that has lost its state."""
    word = os.fsencode(name)[: len(registration.NOBODYS)].ljust(len(registration.NOBODYS), b"\0")
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(word)
