"""The files of a fabric's trace rings: one for each daemon, of a fixed size, which only root can open.

They lie in memory, in the runtime directory if that does, as /run does. On a disk, a write to a page that is just being
written back would hold up a loop, and one that finds the disk full would end its daemon. The memory of a ring is taken
when it is made.

A partition daemon is handed its ring as a descriptor. It may be hostile, so a reader takes what it finds by pread(2),
which is harmed by no change of the file's size, and believes none of it. How large the file can get is bounded by the
limit that each partition daemon sets itself before it is anybody's (privileges.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from vnicd.errors import NotFound, VnicdError
from vnicd.native import trace

SHARED_MEMORY = Path("/dev/shm")
SUFFIX = ".ring"
_IN_MEMORY = {b"tmpfs", b"ramfs"}


def folder(root: Path) -> Path:
    """Where the rings of the fabric with this runtime directory lie."""
    if _is_in_memory(root):
        return root / "trace"
    place = os.fsencode(os.path.realpath(root))
    return SHARED_MEMORY / f"vnicd-trace-{hashlib.blake2s(place, digest_size=8).hexdigest()}"


def _is_in_memory(root: Path) -> bool:
    """Whether what is written below a directory stays in memory."""
    try:
        device = root.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    return kind_of_mount(mounts, os.major(device), os.minor(device)) in _IN_MEMORY


def kind_of_mount(mounts: bytes, major: int, minor: int) -> bytes:
    """The type of the file system on a device, by a mountinfo (proc_pid_mountinfo(5)); empty if it is not there.

    As bytes, because a mount point may have any of them in its name; the kernel escapes blanks and newlines alone.
    """
    number = b"%d:%d" % (major, minor)
    for line in mounts.split(b"\n"):
        before, _, after = line.partition(b" - ")
        if before.split(b" ")[2:3] == [number]:
            return after.partition(b" ")[0]
    return b""


def make(place: Path, name: str) -> int:
    """A descriptor of the ring of a daemon, made if there is none; OSError when there is no memory for it."""
    place.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(place.lstat(), stat.S_IFDIR) or place.lstat().st_mode & 0o077:
        raise PermissionError(f"{place} is somebody else's")
    path = place / f"{name}{SUFFIX}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, trace.SIZE)
        os.ftruncate(fd, trace.SIZE)
    except OSError:
        os.close(fd)
        path.unlink()
        raise
    return fd


def names(place: Path) -> set[str]:
    """The daemons that have a ring."""
    return {path.stem for path in place.glob(f"*{SUFFIX}")}


def remove(place: Path, name: str) -> None:
    with suppress(OSError):
        (place / f"{name}{SUFFIX}").unlink()


def remove_all(place: Path) -> None:
    """Remove the rings of a fabric that is no more."""
    with suppress(OSError):
        if _is_ours(place.lstat(), stat.S_IFDIR):
            shutil.rmtree(place, ignore_errors=True)


def read(place: Path, name: str) -> list[trace.Raw]:
    """What stands in the ring of a daemon, the oldest first; VnicdError when that is no ring."""
    path = place / f"{name}{SUFFIX}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"there is no trace of {name}") from error
    except OSError as error:
        raise VnicdError(f"the trace of {name} can't be read: {error.strerror}") from error
    try:
        if not _is_ours(os.fstat(fd), stat.S_IFREG):
            raise ValueError("it is no file of ours")
        return trace.records(os.pread(fd, trace.SIZE, 0), os.pread(fd, trace.SIZE, 0))
    except ValueError as error:
        raise VnicdError(f"the trace of {name} is damaged: {error}") from error
    finally:
        os.close(fd)


def _is_ours(facts: os.stat_result, kind: int) -> bool:
    return stat.S_IFMT(facts.st_mode) == kind and facts.st_uid == os.geteuid()
