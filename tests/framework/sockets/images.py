"""Root file systems of other Debians and of musl, unpacked from packages and kept on this machine, and ends within."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.framework.fabric.partition import Argv
from tests.framework.sockets.direct import End
from tests.framework.sockets.libraries import need
from vnicd.cli import library

CACHE = Path(os.environ.get("VNICD_TEST_CACHE", "/var/cache/vnicd-tests"))

DEBIAN = "http://deb.debian.org/debian"
PATIENCE = 300
"""Seconds that making a root may take; 3 are enough with a near mirror."""

PREFIX, PROGRAMS = "/opt/vnicd", "/srv"
"""Where in a root the library's folder and the test's programs are."""


def image(suite: str, *packages: str, architecture: str = "") -> Path:
    """A root with these packages and what they depend on: unpacked and not configured, so only plain files."""
    need("mmdebstrap")
    kind = f"{suite}-{architecture or os.uname().machine}"
    root = CACHE / f"{kind}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            _make(root, suite, packages, architecture)
    return root


def _make(root: Path, suite: str, packages: Sequence[str], architecture: str) -> None:
    """In another folder first, so that one that is there is whole."""
    new = root.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    options = ["--variant=extract", f"--include={','.join(packages)}"]
    options += [f"--architectures={architecture}"] if architecture else []
    command = ["mmdebstrap", "--quiet", *options, suite, str(new), DEBIAN]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"no {suite} was to be had from {DEBIAN} in {PATIENCE} seconds")
    if done.returncode:
        pytest.skip(f"no {suite} from {DEBIAN}: {done.stderr.strip()[-300:]}")
    for folder in ("proc", PREFIX.lstrip("/"), PROGRAMS.lstrip("/")):
        (new / folder).mkdir(parents=True, exist_ok=True)
    for path in new.rglob("*"):
        if (
            path.is_symlink() and path.readlink().is_absolute()
        ):  # compilers and emulators follow links from outside
            inside = new / path.readlink().relative_to("/")
            path.unlink()
            path.symlink_to(os.path.relpath(inside, path.parent))
    new.rename(root)


@dataclass(frozen=True)
class Within(End):
    """An end whose programs live in another root: with the library's folder at PREFIX, and others' at PROGRAMS."""

    root: Path
    preload: Path
    programs: Path

    def popen(self, argv: Argv, **options: Any) -> subprocess.Popen[bytes]:
        mounts = {self.preload: PREFIX, self.programs: PROGRAMS, Path("/proc"): "/proc"}
        script = [f'mount --rbind "{source}" "{self.root}{target}"' for source, target in mounts.items()]
        script += [f'exec chroot "{self.root}" "$@"']
        outside = ["unshare", "--mount", "sh", "-ec", "\n".join(script), "sh"]
        variable = f"{library.PRELOAD}={PREFIX}/{library.LITERAL}/{library.NAME}"
        # This one is static, so that nothing but the program itself has the library.
        inside = ["/bin/busybox", "env", variable, *argv]
        return self.partition.popen([*outside, *inside], **options)


@dataclass(frozen=True)
class Preloaded(End):
    """An end whose programs have the file system of the tests, and a library and an emulator of their own choice."""

    library: Path
    emulator: Sequence[str] = ()

    def popen(self, argv: Argv, **options: Any) -> subprocess.Popen[bytes]:
        name = "QEMU_SET_ENV" if self.emulator else library.PRELOAD
        value = f"{library.PRELOAD}={self.library}" if self.emulator else str(self.library)
        command = ["env", "-u", library.PRELOAD, f"{name}={value}", *self.emulator, *argv]
        return self.partition.popen(command, **options)
