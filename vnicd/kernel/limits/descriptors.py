"""Descriptors of a process: how many it may have, and how many are left."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from vnicd.errors import Resources

NEAR = 0.8
"""Part of its limit that a process has open when it is said to be near it."""

FEW = 64
"""With fewer left than these a process is near it, too."""

MORE_FILES = "raise its limit: LimitNOFILE in vnicd.service, or ulimit -n before vnicctl up"
"""What to do when the hosting daemon can't open more files."""


class Usage(NamedTuple):
    used: int
    limit: int

    @property
    def is_near(self) -> bool:
        return self.used >= NEAR * self.limit or self.limit - self.used < FEW


def has_room(count: int) -> bool:
    """Whether this process can have so many more descriptors: they are made, and closed again."""
    made: list[int] = []
    try:
        for _ in range(count):
            made.append(os.eventfd(0, os.EFD_CLOEXEC))
    except OSError:
        return False
    finally:
        for fd in made:
            os.close(fd)
    return True


def check_room(count: int, what: str) -> None:
    """Resources when this process can't have so many more descriptors, which `what` may take."""
    if not has_room(count):
        text = f"too many open files: {what} takes up to {count} descriptors of the hosting daemon"
        raise Resources(text, MORE_FILES)


def usage(pid: int) -> Usage | None:
    """How many descriptors a process has and may have, None when that can't be said. Reads /proc."""
    place = Path(f"/proc/{pid}")
    try:
        used = (place / "fd").stat().st_size or sum(
            1 for _ in (place / "fd").iterdir()
        )  # Linux 6.2 has the first
        limit = re.search(rb"^Max open files +(\d+)", (place / "limits").read_bytes(), re.MULTILINE)
    except OSError:
        return None
    return Usage(used, int(limit[1])) if limit else None
