"""What of ours is on the machine: processes, namespaces, interfaces, hugepages, descriptors, files."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.namespaces import named

HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
OVERCOMMIT = HUGEPAGES / "nr_overcommit_hugepages"
LEDGER = Path("/run/vnicd-hugepages.lock")
"""Where vnicd keeps the limit that it found, for as long as a fabric of anybody's runs."""


def processes(runtime: str) -> set[int]:
    """Live daemons whose runtime directory is `runtime` or below it."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environ = (directory / "environ").read_bytes().split(b"\0")
            command = (directory / "cmdline").read_bytes()
        except OSError:
            continue
        places = [item for item in environ if item.startswith(f"VNICD_RUNTIME_DIR={runtime}".encode())]
        if places and b"vnicd" in command:
            found.add(int(directory.name))
    return found


def hugepages_in_use() -> int:
    """2 MiB pages that are allocated or promised, in all processes."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free, reserved = (int(fields[f"HugePages_{name}"]) for name in ("Total", "Free", "Rsvd"))
    return total - free + reserved


def surplus_hugepages() -> int:
    return int((HUGEPAGES / "surplus_hugepages").read_text())


def hugepage_limit() -> str:
    """How many the kernel may make on demand, and whether somebody has raised that."""
    raised = " raised" if LEDGER.exists() else ""
    return OVERCOMMIT.read_text().strip() + raised


def interfaces() -> set[str]:
    """Interfaces of the namespace that the tests run in."""
    return {name for _, name in socket.if_nameindex()}


def memfds(pids: set[int]) -> set[tuple[int, int]]:
    """The memory files, as (device, inode), that any of the processes has open or mapped."""
    found = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()).startswith("/memfd:"):
                    status = entry.stat()
                    found.add((status.st_dev, status.st_ino))
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if "/memfd:" in line:
                _, _, _, device, inode, *_ = line.split()
                major, minor = (int(part, 16) for part in device.split(":"))
                found.add((os.makedev(major, minor), int(inode)))
    return found


def open_files(pid: int | str = "self") -> dict[int, str]:
    """Descriptors of a process and what they are."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue
    return {number: what for number, what in found.items() if not what.startswith("/proc/")}


@dataclass(frozen=True)
class Snapshot:
    """What must be the same before and after the tests."""

    namespaces: frozenset[str]
    processes: frozenset[int]
    interfaces: frozenset[str]
    hugepages: int
    surplus: int
    limit: str
    descriptors: int
    files: frozenset[str]


def snapshot(base: Path, tag: str) -> Snapshot:
    """What there is of the fabrics below `base`, whose namespaces have `tag` in their names."""
    return Snapshot(
        namespaces=frozenset(name for name in named() if tag in name),
        processes=frozenset(processes(str(base))),
        interfaces=frozenset(interfaces()),
        hugepages=hugepages_in_use(),
        surplus=surplus_hugepages(),
        limit=hugepage_limit(),
        descriptors=len(open_files()),
        files=frozenset(str(path) for path in base.rglob("*")),
    )
