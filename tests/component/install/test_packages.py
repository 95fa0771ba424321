"""The source distribution: it is the whole tree, and has nothing that was built there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
BUILT = ("vnicd/native/loop.cpython-311-x86_64-linux-gnu.so", "cext/__pycache__/left.py", "tests/left.pyc")


def tracked() -> set[str]:
    """Tracked files, and new ones that would be, but for those that serve git alone."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name for name in listed.split("\0") if (ROOT / name).is_file()}
    return {name for name in names if not Path(name).name.startswith(".git")}


def sdist(tree: Path, folder: Path) -> dict[str, int]:
    """The files of the source distribution of a tree, without what setuptools adds, and their modes."""
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", folder],
        cwd=tree,
        env={**os.environ, "VNICD_NO_EXTENSION": "1"},
        capture_output=True,
        check=True,
    )
    (archive,) = folder.glob("vnicd-*.tar.gz")
    with tarfile.open(archive) as opened:
        found = {one.name.partition("/")[2]: one.mode for one in opened if one.isfile()}
    added = {"PKG-INFO", "setup.cfg"}
    return {name: mode for name, mode in found.items() if name not in added and ".egg-info/" not in name}


def test_the_sdist_is_the_whole_tree(tmp_path: Path) -> None:
    tree, names = tmp_path / "tree", tracked()
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    for name in BUILT:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    found = sdist(tree, tmp_path / "dist")
    assert set(found) == names
    assert found["scripts/install"] & 0o111
