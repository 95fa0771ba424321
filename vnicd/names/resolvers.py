"""The machine's own resolvers, as its /etc/resolv.conf names them."""

from __future__ import annotations

import ipaddress
import os
import time
from pathlib import Path

from vnicd.spec.names import SERVER

RESOLV_CONF = Path("/etc/resolv.conf")

MAX_RESOLVERS = 3
"""As many as the C library asks."""

MAX_SIZE = 64 << 10

LOOK_EVERY_S = 1.0
"""Least seconds between two looks whether the file has changed."""

AVOID_S = 30.0
"""Seconds in which a resolver that has not answered is asked after the others."""


def parse(text: str) -> list[str]:
    """The addresses of the name servers in a resolv.conf; without any it is this machine, as for the C library."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1 and _is_address(words[1]):
            found.append(words[1])
    return [each for each in dict.fromkeys(found) if each != SERVER][:MAX_RESOLVERS] or ["127.0.0.1"]


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


class Resolvers:
    """Those of a file that is followed; what can't be read now leaves those that were known."""

    def __init__(self, path: Path = RESOLV_CONF) -> None:
        self.path = path
        self.known = ["127.0.0.1"]
        self.version: tuple[int, ...] = ()
        self.look_at = 0.0
        self.avoided: dict[str, float] = {}
        """Until when, on the monotonic clock."""

    def in_order(self) -> list[str]:
        """The resolvers in the order in which to ask them."""
        now = time.monotonic()
        if now >= self.look_at:
            self.look_at = now + LOOK_EVERY_S
            self._look()
        return sorted(self.known, key=lambda each: self.avoided.get(each, 0.0) > now)

    def was_silent(self, resolver: str) -> None:
        self.avoided[resolver] = time.monotonic() + AVOID_S

    def has_answered(self, resolver: str) -> None:
        self.avoided.pop(resolver, None)

    def _look(self) -> None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - asked for often
            version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if version == self.version:
                return
            with self.path.open("rb") as file:
                text = file.read(MAX_SIZE).decode(errors="replace")
        except OSError:
            return
        self.version, self.known = version, parse(text)
        self.avoided.clear()
