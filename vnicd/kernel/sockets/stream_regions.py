"""Finds the memory of direct connections in programs, by /proc: nobody has to register it.

What is found was written by strangers. So nothing here trusts a name: a mapping must be of the kernel's own memory
file system, and is read by read(2), which cannot be held up by what a program does with its own pages.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vnicd.sockets import abi
from vnicd.sockets.abi import Process, StreamRegion

REGION, PROCESS = "/memfd:vnicd-region", "/memfd:vnicd-process"

MOST_PAGES = 40_000
"""Pages that are read at most, "a region or a process" each."""

LOOK_TIMEOUT_S = 4.0
"""Seconds for all of it."""

MAX_MAPS = 32 << 20
"""Bytes of a program's list of mappings that are looked at."""


class Place(NamedTuple):
    """A mapping: the program, where, and which file."""

    pid: int
    range: str
    inode: int
    kind: str


@dataclass
class Found:
    """Regions by inode with the programs that have them for their own, and programs' pages."""

    regions: dict[int, StreamRegion] = field(default_factory=dict)
    holders: dict[int, list[int]] = field(default_factory=dict)
    processes: dict[int, Process] = field(default_factory=dict)
    namespaces: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By pid."""
    truncated: bool = False
    """Whether there was more than we take the time for."""


def find(namespaces: Mapping[tuple[int, int], object], proc: str = "/proc") -> Found:
    """What programs in these namespaces have. In a thread of its own: it may take seconds."""
    found = Found()
    deadline = time.monotonic() + LOOK_TIMEOUT_S
    device = memory_device()
    pages = 0
    for pid in _pids(proc):
        where = _namespace(proc, pid)
        if where is None or where not in namespaces:
            continue
        for place in mappings(proc, pid, device):
            if pages >= MOST_PAGES or time.monotonic() > deadline:
                found.truncated = True
                return found
            pages += 1
            _note(found, proc, place)
            found.namespaces[pid] = where
    return found


def _note(found: Found, proc: str, place: Place) -> None:
    if place.kind == REGION and place.inode in found.regions:  # a program and its children have it
        if place.pid not in found.holders[place.inode]:
            found.holders[place.inode].append(place.pid)
        return
    try:
        if place.kind == PROCESS:
            found.processes[place.pid] = abi.parse_process(page(proc, place))
            return
        found.regions[place.inode] = abi.parse_stream_region(page(proc, place))
        found.holders[place.inode] = [place.pid]
    except (OSError, ValueError):
        pass  # it is gone meanwhile, or not what it says


def memory_device() -> int:
    """That of the file system that the kernel keeps memfds in."""
    fd = os.memfd_create("vnicd-device", os.MFD_CLOEXEC)
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def _pids(proc: str) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if name.isdigit())  # noqa: PTH208 - no paths are needed


def _namespace(proc: str, pid: int) -> tuple[int, int] | None:
    try:
        facts = Path(f"{proc}/{pid}/ns/net").stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def mappings(proc: str, pid: int, device: int) -> Iterator[Place]:
    """The first pages of the stream regions that a program has for its own, and of its page about itself."""
    try:
        with open(f"{proc}/{pid}/maps", "rb") as file:
            text = file.read(MAX_MAPS)
    except OSError:
        return
    for line in text.splitlines():
        if b"/memfd:vnicd-" not in line:
            continue
        fields = line.decode(errors="replace").split(maxsplit=5)
        if len(fields) == 6 and (place := _place(pid, fields, device)) is not None:
            yield place


def _place(pid: int, fields: list[str], device: int) -> Place | None:
    extent, mode, offset, numbers, inode, name = fields
    kind = name.removesuffix(" (deleted)")
    major, minor = (int(number, 16) for number in numbers.split(":"))
    if kind not in (REGION, PROCESS) or os.makedev(major, minor) != device or int(offset, 16):
        return None
    if kind == REGION and mode != "rw-s":  # what can only be read is the other end's
        return None
    return Place(pid, extent, int(inode), kind)


def page(proc: str, place: Place) -> bytes:
    """The control page; OSError or ValueError when the mapping is gone."""
    # The kernel writes the ends without leading zeros there, as in the list of mappings, but for small addresses.
    start, end = (int(each, 16) for each in place.range.split("-"))
    fd = os.open(f"{proc}/{place.pid}/map_files/{start:x}-{end:x}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_ino != place.inode:
            raise ValueError("another mapping is there now")
        return os.pread(fd, abi.CONTROL_BYTES, 0)
    finally:
        os.close(fd)
