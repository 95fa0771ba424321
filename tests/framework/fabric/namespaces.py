"""Running code and opening sockets in another network namespace, within this process."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
NETNS = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(path: str, function: Callable[[], T]) -> T:
    """What `function` returns when a thread of its own calls it inside the namespace at `path`."""

    def body() -> T:
        with open(path) as namespace:
            if _libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(body).result()


def socket_in(path: str, family: int, kind: int, proto: int = 0) -> socket.socket:
    """A socket that belongs to the namespace at `path`, whoever uses it."""
    return in_namespace(path, lambda: socket.socket(family, kind, proto))


def namespace_of(pid: int) -> int:
    """The inode of a process's network namespace; 0 when it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0


def named() -> set[str]:
    """The names that `ip netns` lists."""
    return {entry.name for entry in NETNS.iterdir()} if NETNS.is_dir() else set()
