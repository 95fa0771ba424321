"""The layout of the tests: folders of unit tests mirror those of the source, and no unit test starts a process."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath

import pytest

from tests.framework.source_tree import ROOT, tracked

MOST_FILES = 14

MIRRORED = ("vnicd", "cext", "tests")
"""Where a folder of tests/unit may have its counterpart; the last is for tests of what the tests share."""

STARTERS = {"subprocess", "multiprocessing", "pty"}
"""Modules by which a test would start a process."""

CALLS = {"fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen"}
"""Functions of os that start one."""


def crowded(names: Iterable[str]) -> dict[str, int]:
    """The folders with more files than a stranger takes in."""
    counts = Counter(str(PurePath(name).parent) for name in names)
    return {folder: count for folder, count in counts.items() if count > MOST_FILES}


def without_counterpart(folders: Iterable[PurePath], root: Path) -> list[str]:
    """Folders below tests/unit, given relative to it, that no folder of the source has the name of."""
    return [str(each) for each in folders if not any((root / top / each).is_dir() for top in MIRRORED)]


def starts(source: str) -> list[int]:
    """The lines of a Python source that import what starts processes, or call it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [node.lineno for alias in names if alias.name.partition(".")[0] in STARTERS]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in STARTERS:
                found.append(node.lineno)
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in CALLS:
                found.append(node.lineno)
    return found


def unit_tests() -> list[str]:
    return [name for name in tracked() if name.startswith("tests/unit/") and name.endswith(".py")]


def test_no_folder_of_tests_is_a_heap() -> None:
    assert not crowded(name for name in tracked() if name.startswith("tests/"))


def test_unit_tests_mirror_the_source() -> None:
    folders = {PurePath(name).relative_to("tests/unit").parent for name in unit_tests()}
    assert len(folders) > 10
    assert not without_counterpart(folders, ROOT)


def test_unit_tests_start_no_process() -> None:
    assert not {name: lines for name in unit_tests() if (lines := starts((ROOT / name).read_text()))}


def test_a_heap_is_found() -> None:
    names = [f"tests/unit/test_{number}.py" for number in range(MOST_FILES)]
    assert not crowded([*names, "tests/unit/spec/test_plan.py"])
    assert crowded([*names, "tests/unit/more.py"]) == {"tests/unit": MOST_FILES + 1}


def test_a_folder_without_counterpart_is_found(tmp_path: Path) -> None:
    (tmp_path / "cext/abi").mkdir(parents=True)
    assert without_counterpart([PurePath(), PurePath("abi"), PurePath("abis")], tmp_path) == ["abis"]


@pytest.mark.parametrize(
    "source",
    ["import subprocess", "from multiprocessing import Process", "import os\nos.fork()", "import pty, os"],
)
def test_a_start_is_found(source: str) -> None:
    assert starts(source)


def test_what_starts_none_is_left_alone() -> None:
    assert not starts("import os, threading\nos.getpid()\nthreading.Thread()\n'subprocess'\n")
