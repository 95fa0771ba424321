"""Who keeps a namespace of somebody else alive besides us: processes that are in it, and names that lead to it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from vnicd.errors import EXHAUSTED
from vnicd.kernel import netns, process
from vnicd.kernel.netns import Identity


@dataclass(frozen=True)
class Tenancy:
    """Of one namespace."""

    pid: int = 0
    """A process that is in it; 0 when there is none."""
    is_named: bool = False
    """Whether a path leads to it."""

    @property
    def is_vacant(self) -> bool:
        return not self.pid and not self.is_named


def look(wanted: Collection[Identity]) -> dict[Identity, Tenancy]:
    """The tenancy of each of these namespaces. Reads all of /proc, and may block."""
    pids: dict[Identity, int] = {}
    for pid in process.pids():
        where = whereabouts(pid)
        if where is not None and where in wanted and where not in pids:
            pids[where] = pid
            if len(pids) == len(wanted):
                break
    named = {identity for identity, _ in _names()}
    return {each: Tenancy(pids.get(each, 0), each in named) for each in wanted}


def inhabitants(places: Mapping[Identity, str]) -> dict[str, list[int]]:
    """The processes in each of these namespaces, by what that is called; only where there are some. May block."""
    found: dict[str, list[int]] = {}
    for pid in process.pids():
        where = whereabouts(pid)
        if where is not None and where in places:
            found.setdefault(places[where], []).append(pid)
    return found


def whereabouts(pid: int) -> Identity | None:
    """The namespace that a process is in, None when it has ended."""
    return netns.identity(f"/proc/{pid}/ns/net")


def paths(namespace: Identity) -> Iterator[str]:
    """Paths that lead to a namespace right now: by its processes, then by its names."""
    yield from (f"/proc/{pid}/ns/net" for pid in process.inhabitants(namespace))
    yield from (path for identity, path in _names() if identity == namespace)


def best_path(namespace: Identity) -> str:
    """The path by which a user knows a namespace: a name of it, or else one of its processes; empty without any."""
    named = (path for identity, path in _names() if identity == namespace)
    return next(named, "") or next(paths(namespace), "")


def _names() -> Iterator[tuple[Identity, str]]:
    """All mounted namespaces with their mount points; OSError when there is no descriptor to look with.

    A line: 36 25 0:4 net:[4026532246] /run/netns/blue ...
    """
    try:
        lines = netns.mount_table().read_bytes().split(b"\n")
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return
    for line in lines:
        words = line.split(b" ")
        if len(words) > 4 and words[3].startswith(b"net:["):
            major, _, minor = words[2].partition(b":")
            place = os.makedev(int(major), int(minor)), int(words[3][5:-1])
            yield place, os.fsdecode(words[4].replace(b"\\040", b" "))
