"""What stands in the memory of a live link, for `vnicctl debug link`: read by way of /proc, and nobody is asked.

So a daemon that is stopped, or that hangs, can be looked at as well. The two sides are read one after the other, not
at one moment: cursors of a link with traffic need not fit together.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vnicd.native import memory

PAGE = 4096
"""Bytes of a side before its ring."""

NEVER = (1 << 64) - 1


def sides(pid: int, maker: int, peer: int) -> dict[int, dict[str, int]]:
    """By link id, the words of the sides that the daemon `pid` of port `maker` has made for `peer`.

    There is more than one while a link is being given back.
    """
    name = f"/memfd:vnicd-link-{maker}-{peer}"
    found = {}
    try:
        entries = list(Path(f"/proc/{pid}/map_files").iterdir())
    except OSError:
        return {}
    for entry in entries:
        try:
            if str(entry.readlink()).removesuffix(" (deleted)") == name:
                words = _read(entry)
                found[words["link_id"]] = words
        except (OSError, ValueError):
            continue  # it was unmapped meanwhile
    return found


def _read(entry: Path) -> dict[str, int]:
    fd = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return memory.link_words(os.pread(fd, PAGE, 0))
    finally:
        os.close(fd)


def direction(sender: dict[str, int], receiver: dict[str, int]) -> dict[str, Any]:
    """What the two sides say of one direction, `sender` to `receiver`; cursors and counts are bytes."""
    head, tail = sender["head"], receiver["tail"]
    wake_at, want_room = receiver["wake_at"], sender["want_room"]
    return {
        "head": head,
        "tail": tail,
        "unread": (head - tail) & NEVER,
        "wake_at": wake_at,
        "is_armed": (wake_at - head) & NEVER < 1 << 63,
        "want_room": None if want_room == NEVER else want_room,
        "waits_for_room": want_room != NEVER and (want_room - tail) & NEVER < 1 << 63,
        "cpu": receiver["cpu"] - 1 if receiver["cpu"] else None,
    }
