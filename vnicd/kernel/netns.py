"""Network namespaces: made, deleted, and entered by a thread of its own for each piece of work."""

from __future__ import annotations

import errno
import functools
import os
import socket
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from vnicd.errors import EXHAUSTED, NoNamespace, Resources, Unsupported, VnicdError
from vnicd.native import netns

K = TypeVar("K")
T = TypeVar("T")

Identity = tuple[int, int]
"""Device and inode of a namespace, which no other one has as long as it lives."""

SO_NETNS_COOKIE = 71
"""Linux 5.14; Python has no name for it."""


class Home(NamedTuple):
    """What tells a namespace from all others until the next boot, also when it is no more.

    Inodes and paths are used again, those of processes with their PIDs; a cookie (0 before Linux 5.14) is not.
    """

    device: int
    inode: int
    cookie: int

    @property
    def identity(self) -> Identity:
        return self.device, self.inode


NETNS_DIR = Path("/run/netns")

OWN = "/proc/thread-self/ns/net"
"""The path of the calling thread's namespace."""

MOUNT_NAMESPACE = "VNICD_MOUNT_NAMESPACE"
"""Variable that names the mount namespace which the whole machine sees, where a daemon has one of its own."""

INIT_MOUNTS = "/proc/1/ns/mnt"


def _in_thread(work: Callable[[], T]) -> T:
    """The result of `work` in a new thread, which ends with it; what it raises is raised here.

    OSError when there can be no other thread.
    """
    outcome: list[T] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # carried over to the caller's thread
            problem.append(error)

    thread = threading.Thread(target=run)
    try:
        thread.start()
    except RuntimeError as error:  # Python does not tell whether memory or processes are at their limit
        raise OSError(errno.EAGAIN, "no thread can be started") from error
    thread.join()
    if problem:
        raise problem[0]
    return outcome[0]


def inside(path: str, work: Callable[[], T]) -> T:
    """The result of `work` done inside the namespace at `path`; NoNamespace when there is none.

    It runs in a thread of its own, so that no other thread ever changes its namespace. OSError when there is no
    descriptor or no thread for it: then nobody knows whether there is a namespace.
    """

    def run() -> T:
        try:
            netns.join(path)
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            raise not_entered(path, error) from error
        return work()

    return _in_thread(run)


def not_entered(path: str, error: OSError) -> NoNamespace:
    """The error that the kernel's about a path is to a user."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return NoNamespace(f"the network namespace {path} can't be entered: {error.strerror}")
    name = path.removeprefix(f"{NETNS_DIR}/")
    is_process = name.isdecimal() and Path("/proc", name).exists()
    hint = f"for a process: --netns /proc/{name}/ns/net" if is_process else ""
    return NoNamespace(f"there is no network namespace at {path}", hint)


def tour(stops: Mapping[K, int], work: Callable[[K], T]) -> dict[K, T]:
    """The results of `work`, done inside the namespaces behind these descriptors, one after the other in one thread.

    What fails there, or can't be entered, has none.
    """

    def run() -> dict[K, T]:
        found = {}
        for key, fd in stops.items():
            try:
                netns.join(f"/proc/self/fd/{fd}")
                found[key] = work(key)
            except OSError:
                continue
        return found

    return _in_thread(run)


def identity(place: str | int) -> Identity | None:
    """What tells the namespace at a path, or behind an fd, from all others; None when there is no such file."""
    try:
        found = os.stat(place)  # noqa: PTH116 - idle daemons ask this for each partition, and a Path costs more
    except OSError:
        return None
    return found.st_dev, found.st_ino


def cookie(sock: socket.socket) -> int:
    """Tells the namespace of a socket; 0 where the kernel can't say it."""
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
    except OSError:
        return 0


def home(path: str) -> Home:
    """What the namespace at a path is known by; NoNamespace when there is none, OSError as for inside()."""

    def look() -> Home:
        found = os.stat(OWN)  # noqa: PTH116 - as below
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            return Home(found.st_dev, found.st_ino, cookie(sock))

    return inside(path, look)


def hold(path: str, expected: Home | None) -> int | None:
    """A descriptor of the namespace at a path; None when there is none, or another than is expected.

    OSError as for inside().
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - to open a pipe could take for ever
            return None
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return None
    is_meant = False
    try:
        is_meant = home(f"/proc/self/fd/{fd}") == expected or expected is None
    except NoNamespace:
        pass
    finally:
        if not is_meant:
            os.close(fd)
    return fd if is_meant else None


def unnamed() -> int:
    """A descriptor of a new namespace that nobody else knows."""

    def make() -> int:
        netns.unshare()
        return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(make)


def exists(path: str) -> bool:
    """Whether a namespace can be entered at `path`; OSError as for inside()."""
    try:
        inside(path, lambda: None)
    except NoNamespace:
        return False
    return True


class MountPoint(NamedTuple):
    """A mount of a table such as /proc/self/mountinfo."""

    number: int
    """No other mount has it, in no mount namespace."""
    origin: tuple[str, str]
    """The device, and the directory on it."""
    shared: str
    """The group of mounts that hear of those made below it, and it of theirs; empty if it is in none."""
    master: str
    """The group of which it hears only."""


def mount_of(mountinfo: str, path: Path) -> MountPoint:
    """The mount that `path` is in; OSError when the table has none."""
    best, found = -1, []
    for line in mountinfo.splitlines():
        words = line.partition(" - ")[0].split()
        depth = len(Path(words[4]).parts)
        if depth >= best and path.is_relative_to(words[4]):  # a later one on the same place is above it
            best, found = depth, words
    if not found:
        raise FileNotFoundError(errno.ENOENT, "no mount", str(path))
    groups = dict(word.split(":", 1) for word in found[6:] if ":" in word)
    return MountPoint(int(found[0]), (found[2], found[3]), groups.get("shared", ""), groups.get("master", ""))


def _mountinfo() -> tuple[str, str]:
    """Of our mount namespace, and of that of process 1."""
    return Path("/proc/self/mountinfo").read_text(), Path("/proc/1/mountinfo").read_text()


@functools.cache
def shared_mounts() -> str:
    """The mount namespace in which names are seen by all; empty for our own.

    What `ip netns exec` starts has mounts of its own, and sees the machine's later ones, but nobody sees those that
    are made there. Looked up once, so that all names are made and deleted in the same place.
    """
    if namespace := os.environ.get(MOUNT_NAMESPACE):
        return namespace
    try:
        ours, init = (mount_of(table, NETNS_DIR) for table in _mountinfo())
        if not ours.master or ours.master != init.shared:
            return ""
        _in_thread(lambda: netns.join_mounts(INIT_MOUNTS))
    except OSError:
        return ""  # not permitted
    return INIT_MOUNTS


def names_are_hidden() -> bool:
    """Whether this process has mounts of its own, and names of namespaces that it makes are seen by nobody else.

    A container that shares only the PIDs with its machine has files of its own, and its names are meant to be there.
    """
    if shared_mounts():
        return False
    try:
        tables = _mountinfo()
        ours, init = (mount_of(table, NETNS_DIR) for table in tables)
        root, init_root = (mount_of(table, Path("/")) for table in tables)
    except OSError:
        return False
    is_peer = bool(ours.shared) and ours.shared == init.shared
    return ours.number != init.number and root.origin == init_root.origin and not is_peer


def in_shared_mounts(work: Callable[[], None]) -> None:
    """Do `work` where mounts are seen by the whole machine: a confined daemon's own are seen by it alone."""

    def run() -> None:
        if namespace := shared_mounts():
            try:
                netns.join_mounts(namespace)
            except OSError as error:
                text = f"the mounts of {namespace}, where namespaces get their names, can't be reached"
                raise Unsupported(f"{text}: {error.strerror}") from error
        work()

    _in_thread(run)


def mount_table() -> Path:
    """The table of the mounts that the whole machine sees."""
    namespace = shared_mounts()
    return Path(namespace).parent.parent / "mountinfo" if namespace else Path("/proc/self/mountinfo")


def create(path: str, prepare: Callable[[], None]) -> None:
    """Make a namespace and keep it alive by a bind mount at `path`, as `ip netns add` does.

    What is to be so from the beginning `prepare()` does in it, before it has its name.
    """

    def work() -> None:
        NETNS_DIR.mkdir(mode=0o755, exist_ok=True)
        netns.share(str(NETNS_DIR))
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        try:
            netns.unshare()
            prepare()
            netns.bind(f"/proc/self/task/{threading.get_native_id()}/ns/net", path)
        except OSError as error:
            Path(path).unlink()
            if error.errno in EXHAUSTED:
                raise Resources(f"no network namespace can be made: {error.strerror}") from error
            raise Unsupported(f"no network namespace can be made: {error.strerror}") from error
        except VnicdError:
            Path(path).unlink()
            raise

    in_shared_mounts(work)


def delete(path: str) -> None:
    """Take the name away; the namespace lives on while processes are in it. No error when it is gone already."""

    def work() -> None:
        try:
            netns.unbind(path)
        except OSError:
            pass  # not mounted: a file that was left between open and bind
        Path(path).unlink(missing_ok=True)

    in_shared_mounts(work)
