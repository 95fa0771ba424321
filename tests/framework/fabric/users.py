"""Acting as another user: within this process, where only a thread loses its privilege, and as a program."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

T = TypeVar("T")

NOBODY = 65534

_NUMBERS = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}
"""System calls setgroups, setresgid, setresuid: those of libc would change every thread."""

_libc = ctypes.CDLL(None, use_errno=True)


def as_user(uid: int, gid: int, function: Callable[[], T]) -> T:
    """What `function` returns when a thread of its own calls it as this user, with this group alone."""

    def body() -> T:
        setgroups, setresgid, setresuid = _NUMBERS[platform.machine()]
        for call in ((setgroups, 0, None), (setresgid, gid, gid, gid), (setresuid, uid, uid, uid)):
            if _libc.syscall(*call):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(body).result()


def program_as(uid: int, gid: int, path: Path) -> list[str]:
    """The command line of this program run as this user, with this group alone.

    Below a folder like /root he could not read it; then he gets the capability to read, with which he still can't
    write anything that is not his, nor connect to a socket of others.
    """
    argv = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    places = (path, Path(sys.executable), Path(__file__))
    if not all(folder.stat().st_mode & 0o001 for place in places for folder in place.parents):
        argv += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*argv, str(path)]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody can reach, unlike pytest's; gone afterwards."""
    with TemporaryDirectory(prefix="vnicd-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def connect(
    path: Path, uid: int = 0, gid: int = 0, count: int = 1, timeout: float = 10
) -> list[socket.socket]:
    """Connections to a Unix socket, made as this user."""

    def one() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            raise
        return sock

    def every() -> list[socket.socket]:
        return [one() for _ in range(count)]

    return as_user(uid, gid, every) if uid else every()
