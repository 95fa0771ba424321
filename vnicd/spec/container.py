"""What a container is called, by the owner that its runtime's plugin has given to its partition; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

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


def owner_in_short(owner: Mapping[str, str]) -> str:
    """An owner for a column of a table: "cni: db" for that of a container, and all its words for any other one.

    The words are whole but for ids of 64 digits; those alone say nothing, and their kind is enough: "docker".
    """
    kind = re.split(r"[/.]", next(iter(owner), ""))[0]
    if found := name(f"{key}={value}" for key, value in owner.items()):
        return f"{kind}: {found}"
    if owner and all(_ID.fullmatch(value) for value in owner.values()):
        return kind
    return ", ".join(f"{key}={_ID.sub(_short, value)}" for key, value in owner.items())


def _short(found: re.Match[str]) -> str:
    return found[1][:SHORT_ID]


def of_cgroup(text: str) -> str | None:
    """The short id of the container that a process is in, by its /proc/PID/cgroup; None of one that is in none."""
    found = _ID.search(text)
    return found[1][:SHORT_ID] if found else None
