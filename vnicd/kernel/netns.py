"""Network namespaces: made, deleted, and entered by a thread of its own for each piece of work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vnicd import netns
from vnicd.errors import NoNamespace, Unsupported

T = TypeVar("T")

NETNS_DIR = Path("/run/netns")


def inside(path: str, work: Callable[[], T]) -> T:
    """The result of `work` done inside the namespace at `path`.

    It runs in a new thread that ends with it, so that no other thread ever changes its namespace. What it
    raises is raised here; NoNamespace when there is no namespace at `path`.
    """
    outcome: list[T] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            try:
                netns.join(path)
            except OSError as error:
                raise NoNamespace(f"there is no network namespace at {path}") from error
            outcome.append(work())
        except BaseException as error:  # carried over to the caller's thread
            problem.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return outcome[0]


def exists(path: str) -> bool:
    """Whether a namespace can be entered at `path`."""
    try:
        inside(path, lambda: None)
    except NoNamespace:
        return False
    return True


def create(path: str) -> None:
    """Make a namespace and keep it alive by a bind mount at `path`, as `ip netns add` does."""
    NETNS_DIR.mkdir(mode=0o755, exist_ok=True)
    netns.share(str(NETNS_DIR))
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    problem: list[OSError] = []

    def run() -> None:
        try:
            netns.unshare()
            netns.bind(f"/proc/self/task/{threading.get_native_id()}/ns/net", path)
        except OSError as error:
            problem.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if problem:
        Path(path).unlink()
        raise Unsupported(f"no network namespace can be made: {problem[0].strerror}") from problem[0]


def delete(path: str) -> None:
    """Take the name away; the namespace lives on while processes are in it. No error when it is gone already."""
    try:
        netns.unbind(path)
    except OSError:
        pass  # not mounted: a file that was left between open and bind
    Path(path).unlink(missing_ok=True)
