"""The wheel, built from the sdist: it has what vnicd needs to run, and nothing that serves tests alone."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from zipfile import ZipFile

from tests.framework.systemd.container import ROOT

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
TESTING = "vnicd/native/testing/"
BUILT = {"vnicd/libvnicd-sockets.so", "vnicd/libvnicd-sockets-musl.so", "vnicd/libexec/vnicd-cni"}


def expected() -> set[str]:
    """The package's Python, the types of its modules, a module for each .pyx, and what else is compiled."""
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "vnicd").rglob("*")
        if path.suffix in (".py", ".pyi") or path.name == "py.typed"
    }
    modules = {
        f"vnicd/native/{path.stem}{SUFFIX}"
        for path in (ROOT / "cext").rglob("*.pyx")
        if path.parent.name != "testing"
    }
    return {name for name in sources if not name.startswith(TESTING)} | modules | BUILT


def test_the_wheel_is_whole_and_has_nothing_for_tests(wheels: Path) -> None:
    (wheel,) = wheels.glob("vnicd-*.whl")
    with ZipFile(wheel) as opened:
        files = {name for name in opened.namelist() if not name.endswith("/")}
        (points,) = (name for name in files if name.endswith(".dist-info/entry_points.txt"))
        scripts = opened.read(points).decode()
    described = {name for name in files if ".dist-info/" in name}
    assert files - described == expected()
    assert any(name.endswith("/LICENSE") for name in described)
    assert "vnicctl = vnicd.cli.entry:main" in scripts
    assert "vnicd = vnicd.__main__:main" in scripts
