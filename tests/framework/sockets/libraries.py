"""Programs and the preload library for other C libraries and machines: glibc, musl, and arm64 by emulation."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

ARM64 = "aarch64-linux-gnu"
EMULATOR = [] if os.uname().machine == "aarch64" else ["qemu-aarch64", "-L", f"/usr/{ARM64}"]
"""What a program of arm64's glibc is started with."""

CFLAGS = ["-O2", "-g", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"]


def need(*programs: str) -> None:
    """Skips the test when one of these programs is not installed."""
    if lacking := [name for name in programs if not shutil.which(name)]:
        pytest.skip(f"not installed: {', '.join(lacking)}")


def compile_program(compiler: Sequence[str], sources: Sequence[Path], program: Path) -> Path:
    need(compiler[0])
    subprocess.run([*compiler, *CFLAGS, "-o", program, *sources], check=True)
    return program


def build_library(compiler: str, libc: str, folder: Path | None = None) -> Path:
    """The preload library as setup.py makes it with another compiler; -Werror included.

    Without a folder it is in one of the tree's, where it is made again only when its sources have changed.
    """
    need(compiler.split(maxsplit=1)[0])
    if folder is None:
        folder = ROOT / "build/tests" / f"{libc}-{Path(compiler).name}"
        folder.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return build_library(compiler, libc, folder)
    options = [f"--cc={compiler}", f"--libc={libc}", f"--into={folder}", f"--temp={folder}"]
    command = [sys.executable, "setup.py", "--quiet", "build_preload", *options]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "VNICD_NO_EXTENSION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (library,) = folder.glob("libvnicd-sockets*.so")
    return library
