"""A process that can't have another descriptor, for a while."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


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
