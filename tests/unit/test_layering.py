"""Imports run one way: no module of vnicd imports one of a higher layer, nor a package that is not for it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vnicd"

EXTENSIONS = {path.stem for path in (ROOT / "cext").rglob("*.pyx")}

LAYERS = (
    {"", "errors", "model", "uplink", "addresses", "announce", "nat", "lanes", "tomlines", "sockets", "near"},
    {"connections", "config", "fabricfile", "plan", "protocol"},
    {"kernel", *EXTENSIONS},
    {"daemon"},
    {"__main__"},
)
"""Parts of the package, lowest layer first; "" is vnicd itself. A part imports from its layer or below."""

CLI_MAY_IMPORT = {"", "cli", "errors", "model", "uplink", "config", "fabricfile", "protocol", "netns"}

THIRD_PARTY = {
    "cli": {"click", "rich"},
    "kernel": {"pyroute2", "pytun"},
    "daemon": {"pyroute2"},
}
"""What a part may import that is neither vnicd nor Python's own; daemons do not load what the CLI needs."""


def part_of(module: str) -> str:
    """kernel of vnicd.kernel.tap."""
    return [*module.split("."), ""][1]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, module: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, module) of each import in `source`, also those inside functions."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            if origin == "vnicd":
                yield from ((node.lineno, vnicd_import(alias.name)) for alias in node.names)
            else:
                yield node.lineno, origin


def vnicd_import(name: str) -> str:
    """`from vnicd import NAME` names a module, or else something in vnicd itself."""
    is_module = name == "cli" or layer_of(name) is not None or (PACKAGE / f"{name}.py").exists()
    return f"vnicd.{name}" if is_module else "vnicd"


def layer_of(part: str) -> int | None:
    return next((number for number, parts in enumerate(LAYERS) if part in parts), None)


def objection(module: str, imported: str) -> str:
    """Why `module` must not import `imported`, or an empty text."""
    part = part_of(module)
    top = imported.partition(".")[0]
    if top != "vnicd":
        allowed = top in sys.stdlib_module_names or top in THIRD_PARTY.get(part, set())
        return "" if allowed else f"{part or 'vnicd'} must not need {top}"
    target = part_of(imported)
    if part == "cli":
        return "" if target in CLI_MAY_IMPORT else f"cli must not know {target}"
    if target == "cli":
        return f"only vnicctl uses cli, not {part}"
    own, other = layer_of(part), layer_of(target)
    if own is None or other is None:
        return f"{part if own is None else target} is in no layer; enter it in {Path(__file__).name}"
    return "" if other <= own else f"{target} is a layer above {part or 'vnicd'}"


def backward_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    return [
        f"{module}:{line} imports {imported}: {why}"
        for line, imported in imports_of(source, module, is_package)
        if (why := objection(module, imported))
    ]


def test_imports_run_one_way() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found += backward_imports(path.read_text(), module_name(path), path.name == "__init__.py")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vnicd.model", "import vnicd.kernel.tap"),
        ("vnicd.model", "from vnicd.config import Paths"),
        ("vnicd.errors", "from . import config"),
        ("vnicd.protocol", "from vnicd import daemon"),
        ("vnicd.kernel.tap", "from vnicd.daemon.host import Host"),
        ("vnicd.kernel.tap", "from ..daemon import host"),
        ("vnicd.kernel.tap", "def late():\n    from vnicd.daemon import host"),
        ("vnicd.daemon.host", "from vnicd.cli.main import main"),
        ("vnicd.__main__", "from vnicd.cli.main import main"),
        ("vnicd.cli.main", "import vnicd.daemon.host"),
        ("vnicd.cli.main", "from vnicd import kernel"),
        ("vnicd.cli.main", "from vnicd import plan"),
        ("vnicd.cli.main", "import pyroute2"),
        ("vnicd.model", "import pyroute2"),
        ("vnicd.daemon.host", "import click"),
        ("vnicd.unheard_of", "import vnicd.model"),
    ],
)
def test_a_backward_import_is_found(module: str, line: str) -> None:
    assert backward_imports(line, module)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vnicd.model", "import json\nfrom vnicd import __version__\nfrom vnicd.errors import Invalid"),
        ("vnicd.protocol", "from vnicd.errors import NotRunning"),
        ("vnicd.kernel.tap", "import pytun\nfrom vnicd.kernel import netns\nfrom .netns import make"),
        ("vnicd.daemon.host", "from vnicd.kernel.tap import make\nfrom vnicd.config import Paths"),
        ("vnicd.__main__", "from vnicd.daemon.host import run"),
        ("vnicd.cli.main", "import click, vnicd.netns\nfrom vnicd import protocol\nfrom . import show"),
    ],
)
def test_a_forward_import_is_none(module: str, line: str) -> None:
    assert not backward_imports(line, module)


_PYX_IMPORT = re.compile(r"^\s*(?:from|c?import)\s+vnicd(?:\.(\w+)|\s+c?import\s+(.+))?", re.MULTILINE)


def python_imports(source: str) -> list[str]:
    """Parts of vnicd other than extension modules that a Cython source imports."""
    found = []
    for part, names in _PYX_IMPORT.findall(source):
        found += re.findall(r"\w+", names.partition("#")[0]) or [part]
    return [part for part in found if part not in EXTENSIONS]


def test_the_extension_imports_no_python_of_vnicd() -> None:
    found = {path.name: python_imports(path.read_text()) for path in (ROOT / "cext").rglob("*.p*")}
    assert not {name: parts for name, parts in found.items() if parts}


def test_an_import_of_vnicd_in_the_extension_is_found() -> None:
    assert python_imports("import os\nfrom vnicd.errors import Invalid\n") == ["errors"]
    assert python_imports("from vnicd import errors, model  # both\n") == ["errors", "model"]
    assert python_imports("def late():\n    import vnicd\n") == [""]
