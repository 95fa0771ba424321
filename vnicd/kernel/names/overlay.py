"""Files in /etc/netns/NAME, which `ip netns exec` and `vnicctl exec` put in the place of those in /etc.

Those that vnicd makes say in their first line for which fabric. So they are found again whatever has happened to us,
and a file of somebody else's is neither written nor taken away.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from vnicd.errors import VnicdError
from vnicd.kernel import netns
from vnicd.spec import names

log = logging.getLogger(__name__)

FOLDER = Path("/etc/netns")
NSSWITCH = Path("/etc/nsswitch.conf")
RESOLV, SWITCH = "resolv.conf", "nsswitch.conf"

SCRATCH = ".vnicd"
"""Behind a dot and a partition's name: its file, while it is written."""

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
"""With these nobody knows what is in a file. A disk that is full is a problem of the one that is to be written."""

MAX_SIZE = 64 << 10
"""Bytes of a file that are looked at."""


class Overlay:
    """The files of the fabric with a runtime directory. Blocking."""

    def __init__(self, root: str, folder: Path = FOLDER, nsswitch: Path = NSSWITCH) -> None:
        self.root = root
        self.folder = folder
        self.nsswitch = nsswitch
        self.problems: dict[str, str] = {}
        """By partition: why it has no file of ours."""
        self.foreign: set[str] = set()
        """Partitions that have a resolv.conf of somebody else's, which goes before ours."""

    def settle(self, wanted: Collection[str]) -> None:
        """Have the files for these partitions, and for no others; OSError when there is no descriptor to look with."""
        try:
            netns.in_shared_mounts(lambda: self._settle(wanted))
        except VnicdError as error:
            self.problems = dict.fromkeys(wanted, error.message)

    def _settle(self, wanted: Collection[str]) -> None:
        for name in self._made() - set(wanted):
            self._remove(name)
        self._remove_scratch()
        problems: dict[str, str] = {}
        foreign: set[str] = set()
        switch = _read(self.nsswitch)
        for name in wanted:
            try:
                if not self._make(name, switch):
                    foreign.add(name)
            except OSError as error:
                if error.errno in NO_DESCRIPTORS:
                    raise
                problems[name] = f"{error.filename or self.folder}: {error.strerror}"
                if name not in self.problems:
                    log.warning("partition %s gets no resolv.conf: %s", name, problems[name])
        self.problems, self.foreign = problems, foreign
        with suppress(OSError):
            if not wanted:
                self.folder.rmdir()  # unless somebody else has something in it

    def _made(self) -> set[str]:
        """Partitions of ours that have a file here, also those of an earlier hosting daemon."""
        return {
            place.name
            for place in _entries(self.folder)
            if any(self._is_ours(place / file, place.name) for file in (RESOLV, SWITCH))
        }

    def _is_ours(self, path: Path, name: str) -> bool:
        return names.owner(_read(path).partition("\n")[0], self.root) == name

    def _make(self, name: str, switch: str) -> bool:
        """False when the partition has a resolv.conf of somebody else's."""
        place = self.folder / name
        texts = {
            RESOLV: names.resolv_conf(names.mark(self.root, name)),
            SWITCH: names.nsswitch_conf(names.mark(self.root, name), switch),
        }
        for file, text in texts.items():
            path = place / file
            have = _read(path) if path.exists() else None
            if have == text:
                continue
            if have is not None and not self._is_ours(path, name):
                return (
                    file != RESOLV
                )  # whose names are resolved elsewhere needs no other order of asking either
            if have is not None:
                path.unlink()
            if text:
                place.mkdir(mode=0o755, parents=True, exist_ok=True)
                _write(path, text, self.folder / f".{name}{SCRATCH}")
        return True

    def _remove_scratch(self) -> None:
        """What a hosting daemon has left that was killed while it wrote a file. Only one writes for a fabric."""
        for path in _entries(self.folder):
            name = path.name[1 : -len(SCRATCH)]
            if path.name == f".{name}{SCRATCH}" and self._is_ours(path, name):
                path.unlink(missing_ok=True)

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            for file in (RESOLV, SWITCH):
                if self._is_ours(self.folder / name / file, name):
                    (self.folder / name / file).unlink()
            (self.folder / name).rmdir()


def settle_common(folder: Path, wanted: bool, nsswitch: Path = NSSWITCH) -> None:
    """Have the files that `vnicctl exec` uses where there is nothing in /etc/netns, or have none. Blocking."""
    texts = {
        RESOLV: names.resolv_conf(names.COMMON),
        SWITCH: names.nsswitch_conf(names.COMMON, _read(nsswitch)),
    }
    try:
        for file, text in texts.items():
            path = folder / file
            if not (wanted and text):
                path.unlink(missing_ok=True)
            elif _read(path) != text:
                path.unlink(missing_ok=True)
                folder.mkdir(mode=0o755, exist_ok=True)
                _write(path, text, folder / f".{file}.new")
        if not wanted and folder.exists():
            folder.rmdir()
    except OSError as error:
        log.warning("programs in attached partitions find no names by vnicctl exec: %s", error)


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from folder.iterdir()


def _read(path: Path) -> str:
    """The beginning of a file, empty when it can't be read or is none; OSError when there is no descriptor for it."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return file.read(MAX_SIZE).decode(errors="replace")
    except OSError as error:
        if error.errno in NO_DESCRIPTORS:
            raise
        return ""


def _write(path: Path, text: str, scratch: Path) -> None:
    """Make a file that is whole from the beginning; FileExistsError when somebody was faster."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(scratch, flags, 0o644), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
