"""Compiles the C programs of the cases, each when it is first needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from tests.cases.case import CASES, Case

SHARED = CASES / "c"
FLAGS = ("-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", f"-I{SHARED}")
READER = CASES / "descriptors/reader.c"
"""A static program that the cases of a changed root run there."""


class BuildError(Exception):
    """What the compiler said."""


def _compile(*words: object) -> None:
    done = subprocess.run(["gcc", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr)


def _is_fresh(made: Path, *sources: Path) -> bool:
    """Whether it was made from these sources as they are."""
    return made.exists() and all(source.stat().st_mtime < made.stat().st_mtime for source in sources)


class Builder:
    """Puts programs into a folder, unless they are there already; several threads may ask it."""

    def __init__(self, folder: Path, flags: Sequence[str] = ()) -> None:
        self.folder = folder
        self.flags = [*FLAGS, *flags]
        self._locks: dict[Path, Lock] = {}
        self._lock = Lock()

    def command(self, case: Case) -> Sequence[str]:
        """What runs the case's program."""
        if case.program.suffix == ".py":
            return [sys.executable, str(case.program), case.test]
        if case.program.parent == READER.parent:
            self.reader()
        return [str(self.binary(case.program)), case.test]

    def binary(self, source: Path) -> Path:
        made = self.folder / f"{source.parent.name}-{source.stem}"
        with self._lock:
            lock = self._locks.setdefault(source, Lock())
        with lock:
            if not _is_fresh(made, source, *SHARED.iterdir()):
                _compile(*self.flags, "-o", made, source, *self._shared(), "-lrt")
        return made

    def reader(self) -> Path:
        made = self.folder / READER.stem
        with self._lock:
            if not _is_fresh(made, READER):
                _compile(*FLAGS, "-static", "-o", made, READER)
        return made

    def _shared(self) -> list[Path]:
        """The compiled files that all programs have in common."""
        made = []
        with self._lock:
            for source in sorted(SHARED.glob("*.c")):
                made.append(self.folder / f"{source.stem}.o")
                if not _is_fresh(made[-1], *SHARED.iterdir()):
                    _compile(*self.flags, "-c", "-o", made[-1], source)
        return made
