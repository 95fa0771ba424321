"""Descriptors of this process: how many are open, and a while in which it can have no other."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_fds() -> int:
    """How many are open, without those of objects that nobody has any more: they would be closed at some moment."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


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
