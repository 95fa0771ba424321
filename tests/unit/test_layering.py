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

LAYERS = (
    {"vnicd", "vnicd.errors"},
    {"vnicd.config", "vnicd.protocol", "vnicd.sockets"},
    {"vnicd.spec"},
    {"vnicd.packet"},
    {"vnicd.native"},
    {"vnicd.kernel.limits"},
    {"vnicd.kernel", "vnicd.process", "vnicd.link"},
    {"vnicd.kernel.sockets", "vnicd.kernel.drift", "vnicd.kernel.names"},
    {"vnicd.host.ports"},
    {"vnicd.host.links"},
    {"vnicd.host.partitions", "vnicd.host.broker", "vnicd.host.control"},
    {"vnicd.host.uplink", "vnicd.host.names"},
    {"vnicd.host", "vnicd.partition", "vnicd.names", "vnicd.docker", "vnicd.check"},
    {"vnicd.__main__"},
)
"""Packages, lowest layer first. A module imports from its own package, or from one of a layer below."""

CLI = {"vnicd.cli", "vnicd.cli.commands"}
CLI_MAY_IMPORT = {"vnicd", "vnicd.errors", "vnicd.config", "vnicd.protocol", "vnicd.spec"}
CLI_MAY_ENTER = ("vnicd.native.netns", "vnicd.check.investigate")
"""What vnicctl needs of the lower layers: the module by which it enters a namespace, and `vnicctl check` as a whole."""

THIRD_PARTY = {
    "cli": {"click", "rich"},
    "kernel": {"pyroute2", "pytun"},
    "check": {"pyroute2"},
    "host": {"pyroute2"},
    "process": {"systemd"},
}
"""What a part may import that is neither vnicd nor Python's own; daemons do not load what the CLI needs."""


def part_of(module: str) -> str:
    """kernel of vnicd.kernel.tap."""
    return [*module.split("."), ""][1]


def package_of(module: str) -> str:
    """The entry of LAYERS, or of CLI, that a module belongs to; an empty text when there is none."""
    listed = {*CLI, *(package for layer in LAYERS for package in layer if package != "vnicd")}
    parts = module.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    return next((each for each in prefixes if each in listed), "vnicd" if module == "vnicd" else "")


def layer_of(package: str) -> int:
    return next(number for number, packages in enumerate(LAYERS) if package in packages)


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
            yield from ((node.lineno, imported_module(origin, alias.name)) for alias in node.names)


def imported_module(origin: str, name: str) -> str:
    """`from ORIGIN import NAME` names a module, or else something in ORIGIN itself."""
    full = f"{origin}.{name}"
    there = (PACKAGE.parent / Path(*full.split("."))) if origin.partition(".")[0] == "vnicd" else None
    is_module = there is not None and (
        there.is_dir() or any(there.with_suffix(end).exists() for end in (".py", ".pyi"))
    )
    return full if is_module else origin


def objection(module: str, imported: str) -> str:
    """Why `module` must not import `imported`, or an empty text."""
    part = part_of(module)
    top = imported.partition(".")[0]
    if top != "vnicd":
        allowed = top in sys.stdlib_module_names or top in THIRD_PARTY.get(part, set())
        return "" if allowed else f"{part or 'vnicd'} must not need {top}"
    own, target = package_of(module), package_of(imported)
    if not own or not target:
        return f"{imported if own else module} is in no layer; enter it in {Path(__file__).name}"
    if own == target:
        return ""
    if own in CLI:
        allowed = target in {*CLI_MAY_IMPORT, "vnicd.cli"} or imported in CLI_MAY_ENTER
        return "" if allowed else f"{own} must not know {target}"
    if target in CLI:
        return f"only vnicctl uses {target}, not {own}"
    return "" if layer_of(target) < layer_of(own) else f"{target} is not in a layer below {own}"


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
        ("vnicd.spec.plan", "import vnicd.kernel.tap"),
        ("vnicd.errors", "from . import config"),
        ("vnicd.protocol.control", "from vnicd import spec"),
        ("vnicd.protocol.control", "from vnicd.sockets import abi"),
        ("vnicd.kernel.tap", "from vnicd.host.main import Host"),
        ("vnicd.kernel.tap", "from ..host import main"),
        ("vnicd.kernel.tap", "from vnicd.process import privileges"),
        ("vnicd.kernel.tap", "def late():\n    from vnicd.host import main"),
        ("vnicd.host.ports.port", "from vnicd.host.links.manager import Links"),
        ("vnicd.host.broker.broker", "from vnicd.host.partitions import executor"),
        ("vnicd.host.links.relay", "from vnicd.host.control import access"),
        ("vnicd.partition.main", "from vnicd.host import fabric"),
        ("vnicd.host.main", "from vnicd.cli.main import main"),
        ("vnicd.__main__", "from vnicd.cli.main import main"),
        ("vnicd.cli.output", "from vnicd.cli.commands import up"),
        ("vnicd.cli.main", "import vnicd.host.main"),
        ("vnicd.cli.main", "from vnicd import kernel"),
        ("vnicd.cli.main", "from vnicd.native import loop"),
        ("vnicd.cli.main", "import pyroute2"),
        ("vnicd.spec.plan", "import pyroute2"),
        ("vnicd.host.main", "import click"),
        ("vnicd.unheard_of", "import vnicd.errors"),
    ],
)
def test_a_backward_import_is_found(module: str, line: str) -> None:
    assert backward_imports(line, module)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vnicd.spec.plan", "import json\nfrom vnicd import __version__\nfrom vnicd.errors import Invalid"),
        ("vnicd.protocol.control", "from vnicd.errors import NotRunning"),
        ("vnicd.kernel.tap", "import pytun\nfrom vnicd.kernel import netns\nfrom .netns import make"),
        ("vnicd.kernel.checks", "from vnicd.kernel.limits import hugepages\nfrom vnicd.native import memory"),
        ("vnicd.host.main", "from vnicd.kernel.tap import make\nfrom vnicd.config import Paths"),
        ("vnicd.__main__", "from vnicd.host.main import run"),
        ("vnicd.cli.commands.up", "from vnicd.cli import output\nfrom vnicd.spec import plan"),
        (
            "vnicd.cli.main",
            "import click, vnicd.native.netns\nfrom vnicd import protocol\nfrom . import show",
        ),
    ],
)
def test_a_forward_import_is_none(module: str, line: str) -> None:
    assert not backward_imports(line, module)


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """The ways from a module back to itself, each once."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        if module in way:
            found.append([*way[way.index(module) :], module])
        elif module not in done:
            for each in sorted(imports.get(module, ())):
                visit(each, [*way, module])
            done.add(module)

    for module in sorted(imports):
        visit(module, [])
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = {}
    for path in PACKAGE.rglob("*.py"):
        module = module_name(path)
        found = {each for _, each in imports_of(path.read_text(), module, path.name == "__init__.py")}
        imports[module] = found - {module}
    assert not circles(imports)


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c", "b"]]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


MOST_FILES = 14


def test_no_folder_of_code_is_a_heap() -> None:
    """A folder holds what one person would change together; test_tiers.py asks the same of tests."""
    code = {".py", ".pyx", ".pxd", ".c", ".h"}
    counts: dict[str, int] = {}
    for top in (PACKAGE, ROOT / "cext"):
        for path in top.rglob("*"):
            if path.suffix in code:
                folder = str(path.parent.relative_to(ROOT))
                counts[folder] = counts.get(folder, 0) + 1
    assert len(counts) > 20
    assert not {folder: count for folder, count in counts.items() if count > MOST_FILES}


_PYX_IMPORT = re.compile(r"^\s*(?:from|c?import)\s+vnicd(?:\.(\w+)|\s+c?import\s+(.+))?", re.MULTILINE)


def python_imports(source: str) -> list[str]:
    """Parts of vnicd other than the compiled modules that a Cython source imports."""
    found = []
    for part, names in _PYX_IMPORT.findall(source):
        found += re.findall(r"\w+", names.partition("#")[0]) or [part]
    return [part for part in found if part != "native"]


def test_the_extension_imports_no_python_of_vnicd() -> None:
    found = {path.name: python_imports(path.read_text()) for path in (ROOT / "cext").rglob("*.p*")}
    assert not {name: parts for name, parts in found.items() if parts}


def test_an_import_of_vnicd_in_the_extension_is_found() -> None:
    assert python_imports("import os\nfrom vnicd.errors import Invalid\n") == ["errors"]
    assert python_imports("from vnicd import errors, model  # both\n") == ["errors", "model"]
    assert python_imports("def late():\n    import vnicd\n") == [""]
