"""Files that are put into place all or none, and taken away again just as far as they are still the same.

A manifest notes what was put where. It is written before the files, so that nothing that was put is unknown, whatever
happens meanwhile. A file that somebody else has put is never replaced, and one that was changed is never taken away.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vnicd.errors import Exists, Invalid

MANIFEST = "/var/lib/vnicd/containers.json"

State = Literal["new", "same", "changed", "foreign"]
"""Of a place: empty; as it is to be; ours, and to be replaced; somebody else's."""


@dataclass(frozen=True)
class Item:
    """A file, or a link if it has a target."""

    path: str
    purpose: str
    content: bytes = b""
    target: str = ""
    mode: int = 0o644

    @property
    def digest(self) -> str:
        return f"link {self.target}" if self.target else _digest(self.content)


@dataclass
class Manifest:
    """Paths of files with what they were when they were put, and the folders that were made for them."""

    files: dict[str, str]
    folders: list[str]


class Tree:
    """The file system below `root`, which is / but for packaging."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._manifest = self.place(MANIFEST)

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def manifest(self) -> Manifest:
        """What was put; empty if nothing was. Invalid when it can't be understood."""
        try:
            data = json.loads(self._manifest.read_text())
            files = {str(path): str(digest) for path, digest in data["files"].items()}
            return Manifest(files, [str(path) for path in data["folders"]])
        except FileNotFoundError:
            return Manifest({}, [])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Invalid(f"{self._manifest} is damaged: {error}", "delete it, and what it names") from error

    def state(self, item: Item, manifest: Manifest) -> State:
        found = self._digest_at(item.path)
        if found is None:
            return "new"
        if found == item.digest or self._leads_to(item):
            return "same"
        return "changed" if manifest.files.get(item.path) == found else "foreign"

    def _leads_to(self, item: Item) -> bool:
        """Whether a link is there that leads to the same file by another path, as by /lib instead of /usr/lib."""
        place = self.place(item.path)
        if not item.target or not place.is_symlink():
            return False
        ends = (self.place(str(place.readlink())), self.place(item.target))
        return all(end.exists() for end in ends) and ends[0].samefile(ends[1])

    def is_whole(self, path: str, manifest: Manifest) -> bool:
        """Whether something that was put is still there as it was."""
        return self._digest_at(path) == manifest.files.get(path)

    def install(self, items: Sequence[Item], dry_run: bool = False) -> dict[str, State]:
        """Puts all of these, by path what of each had to be done; Exists when somebody else has put one of them.

        If one can't be written, those that were new are taken away again.
        """
        with self._locked(dry_run):
            manifest = self.manifest()
            states = {item.path: self.state(item, manifest) for item in items}
            if foreign := [path for path, state in states.items() if state == "foreign"]:
                raise Exists(
                    f"{foreign[0]} is there already, and vnicctl has not put it there as it is",
                    "nothing was changed; move it away",
                )
            due = [item for item in items if states[item.path] in ("new", "changed")]
            if due and not dry_run:
                self._put(due, states, manifest)
        return states

    def _put(self, items: Sequence[Item], states: dict[str, State], manifest: Manifest) -> None:
        done: list[Item] = []
        try:
            for item in items:
                manifest.folders += self._missing_folders(item.path, manifest.folders)
            manifest.files |= {item.path: item.digest for item in items}
            self._note(manifest)
            for item in items:
                self._write(item)
                done.append(item)
        except OSError:
            for item in items:
                if states[item.path] == "new":
                    with suppress(OSError):
                        self._take(item.path, manifest)
                    manifest.files.pop(item.path, None)
            with suppress(OSError):
                self._note(manifest)
            raise

    def _missing_folders(self, path: str, known: Sequence[str]) -> list[str]:
        """Those above a place that are not there, the highest first."""
        above = [str(folder) for folder in reversed(Path(path).parents)]
        return [folder for folder in above if folder not in known and not self.place(folder).is_dir()]

    def _write(self, item: Item) -> None:
        place = self.place(item.path)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = place.with_name(f".{place.name}.vnicd-new")
        new.unlink(missing_ok=True)
        try:
            if item.target:
                new.symlink_to(item.target)
            else:
                new.write_bytes(item.content)
                new.chmod(item.mode)
            new.replace(place)
        finally:
            new.unlink(missing_ok=True)

    def uninstall(self, dry_run: bool = False) -> dict[str, str]:
        """Takes away what was put, by path `removed`, `gone` if it was not there, or `kept` if somebody has changed it.

        What is kept is not ours any more.
        """
        with self._locked(dry_run):
            manifest = self.manifest()
            found = {path: self._fate(path, manifest) for path in manifest.files}
            if not dry_run and (manifest.files or manifest.folders):
                for path in manifest.files:
                    self._take(path, manifest)
                self._manifest.unlink(missing_ok=True)
                for folder in sorted(manifest.folders, key=len, reverse=True):
                    with suppress(OSError):  # somebody else's files may be in it
                        self.place(folder).rmdir()
        return found

    def _fate(self, path: str, manifest: Manifest) -> str:
        if self._digest_at(path) is None:
            return "gone"
        return "removed" if self.is_whole(path, manifest) else "kept"

    def _take(self, path: str, manifest: Manifest) -> None:
        if self._digest_at(path) is not None and self.is_whole(path, manifest):
            self.place(path).unlink()

    def _digest_at(self, path: str) -> str | None:
        """What is at a place; None when nothing is."""
        place = self.place(path)
        if place.is_symlink():
            return f"link {place.readlink()}"
        if not os.path.lexists(place):
            return None
        return _digest(place.read_bytes()) if place.is_file() else "no file"

    def _note(self, manifest: Manifest) -> None:
        missing = self._missing_folders(MANIFEST, manifest.folders)
        manifest.folders = [*missing, *manifest.folders]
        text = json.dumps({"files": manifest.files, "folders": manifest.folders}, indent=2) + "\n"
        self._manifest.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = self._manifest.with_suffix(".new")
        new.write_text(text)
        new.replace(self._manifest)

    @contextmanager
    def _locked(self, dry_run: bool) -> Iterator[None]:
        """One at a time; the lock is on the root, so nothing is left of it."""
        if dry_run:
            yield
            return
        self.root.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _digest(content: bytes) -> str:
    return f"sha256 {hashlib.sha256(content).hexdigest()}"
