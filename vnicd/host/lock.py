"""The lock that makes one process the hosting daemon of a fabric: held on a file in the runtime directory."""

from __future__ import annotations

import fcntl
import os

from vnicd.config import Paths
from vnicd.errors import AlreadyRunning, Resources


class HostLock:
    """Taken when made: AlreadyRunning when another process has it, Resources when there can be no file."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.fd = self._take()

    def is_whole(self) -> bool:
        """Whether the file that we hold is still the one that others would try."""
        try:
            return os.path.samestat(os.fstat(self.fd), self.paths.host_lock.stat())
        except OSError:
            return False

    def is_lost(self) -> bool:
        """Whether another process may have made itself the hosting daemon: there is a file, and it is not ours."""
        return self.paths.host_lock.exists() and not self.is_whole()

    def renew(self) -> None:
        """Take it again after the file was deleted under us; AlreadyRunning when another one was faster."""
        old, self.fd = self.fd, self._take()
        os.close(old)

    def close(self) -> None:
        os.close(self.fd)

    def _take(self) -> int:
        root = self.paths.root
        try:
            root.mkdir(mode=0o755, parents=True, exist_ok=True)
            fd = os.open(self.paths.host_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Resources(f"the runtime directory {root} can't be used: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(fd, 32, 0).decode(errors="replace") or "?"
            os.close(fd)
            hint = f"if it does not answer: kill {pid}, and then vnicctl up or down"
            raise AlreadyRunning(f"a hosting daemon, pid {pid}, runs already in {root}", hint) from error
        try:
            os.truncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        except OSError as error:
            self.paths.host_lock.unlink(missing_ok=True)
            os.close(fd)
            raise Resources(f"{self.paths.host_lock} can't be written: {error.strerror}") from error
        return fd
