"""Files of the extension use those of lower layers only, and files of one folder do not use each other in a circle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CEXT = Path(__file__).parents[3] / "cext"

LAYERS = ("abi", "datapath.state", "datapath.frame", "datapath.link", "datapath.io", "datapath.loop")
"""Lowest first. What is not among them (memory, resolver, testing) may use any, and nothing uses it."""

_CIMPORT = re.compile(
    r"^\s*(?:from|cimport) ((?:abi|datapath|resolver|memory|exchange|system|testing)[\w.]*)", re.M
)

SOURCES = sorted(path for path in CEXT.rglob("*.p[xy][dx]") if path.name != "__init__.pxd")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(CEXT).with_suffix("").parts)


def folder_of(module: str) -> str:
    return module.rpartition(".")[0]


def layer_of(module: str) -> int:
    folder = folder_of(module)
    return LAYERS.index(folder) if folder in LAYERS else len(LAYERS)


def objections(module: str, source: str) -> list[str]:
    """What `module` must not use, of what it does."""
    own = layer_of(module)
    return [
        f"{module} uses {used}"
        for used in _CIMPORT.findall(source)
        if layer_of(used) > own or (layer_of(used) == len(LAYERS) and folder_of(used) != folder_of(module))
    ]


def test_layers() -> None:
    found = [each for path in SOURCES for each in objections(name_of(path), path.read_text())]
    assert not found, "\n".join(found)
    assert len(SOURCES) > 25, "few were looked at"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("datapath.frame.inspect", "from datapath.link.link cimport *"),
        ("datapath.io.tap", "    from datapath.loop.deliver cimport drain_link"),
        ("abi.abi", "cimport datapath.state.ring"),
        ("datapath.loop.loop", "from resolver.rounds cimport serve"),
    ],
)
def test_a_use_of_a_higher_layer_is_found(module: str, line: str) -> None:
    assert objections(module, line)


def test_no_circle() -> None:
    uses = {name_of(path): set(_CIMPORT.findall(path.read_text())) for path in SOURCES}
    while leaves := [module for module, used in uses.items() if not used & uses.keys() - {module}]:
        for module in leaves:
            del uses[module]
    assert not uses, f"in a circle, or above one: {sorted(uses)}"
