"""Debian packages of vnicd for the tests: of this version and a later one, built anew when their sources change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.framework.systemd.container import ROOT
from tests.service.versions import with_version

LATER = "99.1"
SOURCES = ("scripts/deb", "scripts/lib.sh", "scripts/man", "packaging/**/*", "systemd/*", "CHANGELOG.md")


def packages(wheels: Path) -> tuple[Path, Path]:
    """The package made of the wheels, and one that is another version but for nothing else."""
    digest = hashlib.sha256(wheels.name.encode())
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()):
        digest.update(f"{path} ".encode() + path.read_bytes())
    folder = ROOT / "build/debs" / digest.hexdigest()[:16]
    if not folder.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        unfinished = folder.with_name("unfinished")
        later = unfinished / "wheels"
        with_version(wheels, later, LATER)
        _build(wheels, unfinished / "this")
        _build(later, unfinished / "later")
        shutil.rmtree(later)
        unfinished.rename(folder)
    (this,), (later,) = folder.glob("this/vnicd_*.deb"), folder.glob("later/vnicd_*.deb")
    return this, later


def _build(wheels: Path, into: Path) -> None:
    argv = [ROOT / "scripts/deb", "--wheels", wheels, "--into", into]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert not done.returncode, f"scripts/deb: {done.stdout}{done.stderr}"
