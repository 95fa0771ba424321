"""The preload library's includes run one way: no file includes one of a higher layer, and there is no circle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PRELOAD = Path(__file__).parents[3] / "cext/preload"

LAYERS = (
    {"base"},
    {"fdtable"},
    {"memory"},
    {"stream"},
    {"discovery", "watch"},
    {"handshake"},
    {"wait", "relay"},
    {"multiplex"},
    {"hooks"},
    {"lifecycle"},
)
"""Folders, lowest layer first. A file includes headers of its own folder and of lower layers."""

MOST_FILES = 14
"""In a folder; more are a heap."""

_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)


def sources() -> list[Path]:
    return sorted([*PRELOAD.rglob("*.c"), *PRELOAD.rglob("*.h")])


def name_of(path: Path) -> str:
    return path.relative_to(PRELOAD).as_posix()


def included(text: str) -> list[str]:
    return _INCLUDE.findall(text)


def layer_of(name: str) -> int:
    folder = name.partition("/")[0]
    return next(number for number, folders in enumerate(LAYERS) if folder in folders)


def may_include(name: str, header: str) -> bool:
    if header.startswith("abi/"):
        return True
    folder, its = name.partition("/")[0], header.partition("/")[0]
    return folder == its or layer_of(header) < layer_of(name)


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_includes_run_downwards(path: Path) -> None:
    assert [header for header in included(path.read_text()) if not may_include(name_of(path), header)] == []


def circle(graph: dict[str, list[str]]) -> list[str]:
    """Names that include each other, the first one again at the end; empty without."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for each in graph.get(name, []):
            if found := walk(each, [*way, name]):
                return found
        done.add(name)
        return []

    return next(filter(None, (walk(name, []) for name in graph)), [])


def test_headers_make_no_circle() -> None:
    assert circle({name_of(path): included(path.read_text()) for path in sources()}) == []


def test_each_source_begins_with_its_own_header() -> None:
    def wrong(path: Path) -> bool:
        headers = included(path.read_text())
        return path.with_suffix(".h").exists() and headers[:1] != [name_of(path.with_suffix(".h"))]

    assert [name_of(path) for path in sources() if path.suffix == ".c" and wrong(path)] == []


def test_only_hooks_export_functions() -> None:
    found = [name_of(path) for path in sources() if re.search(r"^\s*EXPORT ", path.read_text(), re.MULTILINE)]
    assert found
    assert [name for name in found if not name.startswith("hooks/")] == []


def test_folders_are_small() -> None:
    counts = {folder.name: len([*folder.iterdir()]) for folder in PRELOAD.iterdir() if folder.is_dir()}
    assert {name: count for name, count in counts.items() if count > MOST_FILES} == {}


def test_the_checks_find_what_they_look_for() -> None:
    assert not may_include("stream/ring.c", "hooks/io.h")
    assert not may_include("discovery/a.c", "watch/b.h")
    assert may_include("hooks/io.c", "stream/ring.h")
    assert circle({"a": ["b"], "b": ["c"], "c": ["a"]}) == ["a", "b", "c", "a"]
    assert circle({"a": ["b", "c"], "b": ["c"], "c": []}) == []
