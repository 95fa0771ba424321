"""What a container is called, by the owner that its runtime's plugin has given to its partition; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

SHORT_ID = 12
"""Characters of a container's id that runtimes show."""

_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")


def name(owner: Iterable[str]) -> str | None:
    """The container's name, of a pod with its namespace, or else the short form of its id.

    The words of an owner are KEY=VALUE. What counts is the last part of a key: `name` of `cni/name`.
    """
    words = {re.split(r"[/.]", key)[-1]: value for key, _, value in (each.partition("=") for each in owner)}
    if words.get("name"):
        return "/".join(word for word in (words.get("namespace"), words["name"]) if word)
    return words["container"][:SHORT_ID] if words.get("container") else None


def of_cgroup(text: str) -> str | None:
    """The short id of the container that a process is in, by its /proc/PID/cgroup; None of one that is in none."""
    found = _ID.search(text)
    return found[1][:SHORT_ID] if found else None
