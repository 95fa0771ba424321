"""What changes networks by: one at a time, and units of systemd."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from vnicd.config import Paths
from vnicd.errors import NotPermitted, Resources, VnicdError

SUDO = "run it with sudo"


@contextlib.contextmanager
def locked() -> Iterator[Paths]:
    """One at a time adds or removes networks; the paths of the default one."""
    default = Paths.from_environment().default
    try:
        fd = _locked_folder(default.networks)
    except PermissionError as error:  # root of a user namespace, as in a user's own podman
        raise NotPermitted("only root can change networks, not a user's own runtime", SUDO) from error
    except OSError as error:
        raise Resources(f"{default.networks} can't be used: {error.strerror}") from error
    try:
        yield default
    finally:
        os.close(fd)
        for folder in (default.networks, default.root):  # as long as there is something in it, it stays
            with contextlib.suppress(OSError):
                folder.rmdir()


def _locked_folder(path: Path) -> int:
    """A descriptor of a folder, made if need be, that nobody else has locked; not of one that was just removed."""
    while True:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        os.close(fd)


def systemctl(*words: str) -> None:
    try:
        done = subprocess.run(
            ["systemctl", "--quiet", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise VnicdError(f"systemctl can't be run: {error.strerror}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        hint = f"see: journalctl -u {words[-1]}"
        raise VnicdError(lines[0] if lines else f"systemctl {' '.join(words)} has failed", hint)
