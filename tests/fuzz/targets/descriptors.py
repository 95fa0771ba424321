"""Descriptors of all kinds, such as somebody may send with a message."""

from __future__ import annotations

import fcntl
import os
import re
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.framework.sockets.preload import FUTURE_WRITE, GROW, SHRINK, make_stream_region
from tests.fuzz.choices import Choices
from vnicd.native import memory

SEAL = 0x1
F_ADD_SEALS = 1033


def _sealed(size: int, seals: int) -> int:
    fd = os.memfd_create("fuzz", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


@contextmanager
def all_kinds() -> Iterator[list[int]]:
    """One of each kind; whoever sends one sends a copy."""
    pipe = os.pipe()
    pair = socket.socketpair()
    packets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    poll = select.epoll()
    others = [socket.socket(), socket.socket(socket.AF_INET6), socket.socket(type=socket.SOCK_DGRAM)]
    fds = [
        *pipe,
        os.open("/dev/null", os.O_RDWR),
        os.open("/", os.O_PATH),
        os.open(__file__, os.O_RDONLY),
        os.eventfd(0),
        os.pidfd_open(os.getpid()),
        os.memfd_create("fuzz"),
        _sealed(memory.LINK_SIZE, 0),
        _sealed(4096, SEAL | SHRINK | GROW | FUTURE_WRITE),
        _sealed(memory.LINK_SIZE, SEAL | SHRINK | GROW),
        _sealed(memory.LINK_SIZE, SEAL | SHRINK | GROW | FUTURE_WRITE),
        _sealed(memory.LINK_SIZE * 16, SEAL | SHRINK | GROW | FUTURE_WRITE),
        make_stream_region(),
        make_stream_region(4096),
    ]
    try:
        yield [*fds, poll.fileno(), *(each.fileno() for each in (*pair, *packets, *others))]
    finally:
        for fd in fds:
            os.close(fd)
        poll.close()
        for each in (*pair, *packets, *others):
            each.close()


def some_of(choices: Choices, kinds: list[int]) -> list[int]:
    """None, mostly; else some, and rarely as many as a message can have."""
    if not choices.one_in(4):
        return []
    count = 253 if choices.one_in(64) else choices.below(4)
    return [choices.pick(kinds) for _ in range(count)]


def fd_names() -> list[str]:
    """What each of our descriptors is."""
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            names.append(re.sub(r"[0-9]+", "", str(entry.readlink())))
    return names
