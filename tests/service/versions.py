"""Another version of vnicd, made from a built wheel by changing nothing but the number."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile


def with_version(wheels: Path, folder: Path, version: str) -> None:
    """Fills `folder` with the wheels, and says in that of vnicd that it is of another version."""
    shutil.copytree(wheels, folder)
    (wheel,) = folder.glob("vnicd-*.whl")
    former = wheel.name.split("-")[1]
    with ZipFile(wheel) as old:
        files = {info.filename: old.read(info) for info in old.infolist()}
    wheel.unlink()
    info, renamed = f"vnicd-{former}.dist-info", f"vnicd-{version}.dist-info"
    files = {name.replace(info, renamed): data for name, data in files.items()}
    _replace(files, f"{renamed}/METADATA", rf"^Version: {re.escape(former)}$", f"Version: {version}")
    _replace(files, "vnicd/__init__.py", rf'"{re.escape(former)}"', f'"{version}"')
    files[f"{renamed}/RECORD"] = _record(files, f"{renamed}/RECORD")
    with ZipFile(folder / wheel.name.replace(former, version, 1), "w", ZIP_DEFLATED) as new:
        for name, data in files.items():
            new.writestr(name, data)


def _replace(files: dict[str, bytes], name: str, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, text, files[name].decode(), count=1, flags=re.MULTILINE)
    assert count, f"{name} does not name the version"
    files[name] = changed.encode()


def _record(files: dict[str, bytes], own: str) -> bytes:
    """The list of a wheel's files with their hashes."""
    lines = [f"{own},,"]
    for name, data in files.items():
        if name != own:
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(data)}")
    return ("\n".join(lines) + "\n").encode()
