"""Network namespaces: made, deleted, and entered by a thread of its own for each piece of work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vnicd.errors import NoNamespace, Unsupported, VnicdError
from vnicd.native import netns

T = TypeVar("T")

Identity = tuple[int, int]
"""Device and inode of a namespace, which no other one has as long as it lives."""

NETNS_DIR = Path("/run/netns")

OWN = "/proc/thread-self/ns/net"
"""The path of the calling thread's namespace."""

MOUNT_NAMESPACE = "VNICD_MOUNT_NAMESPACE"
"""Variable that names the mount namespace which the whole machine sees, where a daemon has one of its own."""


def _in_thread(work: Callable[[], T]) -> T:
    """The result of `work` in a new thread, which ends with it; what it raises is raised here."""
    outcome: list[T] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # carried over to the caller's thread
            problem.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return outcome[0]


def inside(path: str, work: Callable[[], T]) -> T:
    """The result of `work` done inside the namespace at `path`; NoNamespace when there is none.

    It runs in a thread of its own, so that no other thread ever changes its namespace.
    """

    def run() -> T:
        try:
            netns.join(path)
        except OSError as error:
            raise NoNamespace(f"there is no network namespace at {path}") from error
        return work()

    return _in_thread(run)


def identity(place: str | int) -> Identity | None:
    """What tells the namespace at a path, or behind an fd, from all others; None when there is no such file."""
    try:
        found = os.stat(place)  # noqa: PTH116 - idle daemons ask this for each partition, and a Path costs more
    except OSError:
        return None
    return found.st_dev, found.st_ino


def exists(path: str) -> bool:
    """Whether a namespace can be entered at `path`."""
    try:
        inside(path, lambda: None)
    except NoNamespace:
        return False
    return True


def _mounting(work: Callable[[], None]) -> None:
    """Do `work` where mounts are seen by the whole machine: a confined daemon's own are seen by it alone."""

    def run() -> None:
        if namespace := os.environ.get(MOUNT_NAMESPACE):
            try:
                netns.join_mounts(namespace)
            except OSError as error:
                text = f"the mounts of {namespace}, where namespaces get their names, can't be reached"
                raise Unsupported(f"{text}: {error.strerror}") from error
        work()

    _in_thread(run)


def create(path: str, prepare: Callable[[], None]) -> None:
    """Make a namespace and keep it alive by a bind mount at `path`, as `ip netns add` does.

    What is to be so from the beginning `prepare()` does in it, before it has its name.
    """

    def work() -> None:
        NETNS_DIR.mkdir(mode=0o755, exist_ok=True)
        netns.share(str(NETNS_DIR))
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        try:
            netns.unshare()
            prepare()
            netns.bind(f"/proc/self/task/{threading.get_native_id()}/ns/net", path)
        except OSError as error:
            Path(path).unlink()
            raise Unsupported(f"no network namespace can be made: {error.strerror}") from error
        except VnicdError:
            Path(path).unlink()
            raise

    _mounting(work)


def delete(path: str) -> None:
    """Take the name away; the namespace lives on while processes are in it. No error when it is gone already."""

    def work() -> None:
        try:
            netns.unbind(path)
        except OSError:
            pass  # not mounted: a file that was left between open and bind
        Path(path).unlink(missing_ok=True)

    _mounting(work)
