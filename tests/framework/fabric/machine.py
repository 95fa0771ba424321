"""What of ours is on the machine: processes, namespaces, interfaces, hugepages, descriptors, files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
OVERCOMMIT = HUGEPAGES / "nr_overcommit_hugepages"
LEDGER = Path("/run/vnicd-hugepages.lock")
"""Where vnicd keeps the limit that it found, for as long as a fabric of anybody's runs."""


def daemons(helpers: bool = False) -> dict[int, Path]:
    """All live daemons of vnicd on this machine, or all names helpers, with their runtime directories."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environ = (directory / "environ").read_bytes().split(b"\0")
            command = (directory / "cmdline").read_bytes()
        except OSError:
            continue
        place = next((item for item in environ if item.startswith(b"VNICD_RUNTIME_DIR=")), b"=/run/vnicd")
        is_spare = b"\0partition\0--" in command  # it ends with its host
        if b"\0-m\0vnicd\0" in command and (b"\0names\0" in command) == helpers and not is_spare:
            found[int(directory.name)] = Path(place.decode().split("=", 1)[1])
    return found


def hugepages_in_use() -> int:
    """2 MiB pages that are allocated or promised, in all processes."""
    return _hugepages("Total") - free_hugepages()


def free_hugepages() -> int:
    """2 MiB pages in the pool that nobody uses or was promised."""
    return _hugepages("Free") - _hugepages("Rsvd")


def _hugepages(kind: str) -> int:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields[f"HugePages_{kind}"])


def hugepage_limit() -> str:
    """How many the kernel may make on demand, and whether somebody has raised that."""
    raised = " raised" if LEDGER.exists() else ""
    return OVERCOMMIT.read_text().strip() + raised


def limit_is_claimed() -> bool:
    """Whether somebody's fabric or container holds its claim on hugepages: it has the ledger locked."""
    with suppress(FileNotFoundError):
        inode = LEDGER.stat().st_ino
        fields = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return any(words[-3].endswith(f":{inode}") for words in fields if "FLOCK" in words)
    return False


def taps() -> set[str]:
    """The TAPs in the namespace that the tests run in, where vnicd must never leave one."""
    return {path.parent.name for path in Path("/sys/class/net").glob("*/tun_flags")}


def paths_below(base: Path) -> Iterator[Path]:
    """Directories and files. What goes meanwhile is left out; Path.rglob fails then."""
    for place, directories, files in os.walk(base):
        yield from (Path(place, name) for name in directories + files)


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
