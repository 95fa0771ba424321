"""Descriptors of this process: how many are open, and a while in which it can have no other."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


def open_fds(collect: bool = True) -> int:
    """How many are open, without those of objects that nobody has any more: they would be closed at some moment.

    `collect=False` leaves that out, for who counts a thousand times: it takes 0.1 s in a process that has run many
    tests.
    """
    if collect:
        gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a fuzzer counts often


@contextmanager
def no_more_descriptors(left: int = 0) -> Iterator[None]:
    """Within: this process can have only so many more descriptors."""
    probes = [os.eventfd(0) for _ in range(left + 1)]
    for fd in probes:
        os.close(fd)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(probes), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
