"""The preload library in programs of other C libraries: it loads in glibc from 2.17 on and in musl, or stands aside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.framework.programs import PROGRAMS
from tests.framework.sockets.direct import LIBRARY
from tests.framework.sockets.libraries import ARM64, EMULATOR, build_library, compile_program, need
from vnicd.cli import library

OLDEST = (2, 17)
"""The oldest glibc that programs may have."""

pytestmark = pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="not what is installed")

MUSL_LIBRARY = LIBRARY.with_name(library.MUSL_NAME)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.c"
    return Path(shutil.copy(PROGRAMS / "preload/hooked.c", path))


@pytest.fixture(scope="module")
def glibc_program(source: Path) -> Path:
    return compile_program(["gcc"], [source], source.with_name("glibc"))


@pytest.fixture(scope="module")
def musl_program(source: Path) -> Path:
    return compile_program(["musl-gcc"], [source], source.with_name("musl"))


@pytest.fixture(scope="module")
def arm64_library() -> Path:
    return build_library(f"{ARM64}-gcc", "glibc")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as an installation lays it out."""
    folder = tmp_path_factory.mktemp("prefix") / "preload"
    library.lay_out(folder)
    return folder


def loaded(program: Path, preload: Path, emulator: Sequence[str] = ()) -> list[str]:
    """What a program that was told to preload this has loaded of vnicd; it must do its work and say nothing else."""
    need(*emulator[:1])
    given = {"QEMU_SET_ENV": f"LD_PRELOAD={preload}"} if emulator else {"LD_PRELOAD": str(preload)}
    environment = {**os.environ, **given}
    argv = [*emulator, program]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def needs(path: Path) -> tuple[set[str], set[str]]:
    """The libraries and the symbol versions that a library needs."""
    need("readelf")
    command = ["readelf", "--wide", "--dynamic", "--version-info", path]
    environment = {**os.environ, "LC_ALL": "C"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    libraries = set(re.findall(r"\(NEEDED\).*\[(.*)\]", said))
    return libraries, set(re.findall(r"Name: (\S+)  Flags", said))


def test_a_program_may_wrap_what_it_replaces(tmp_path: Path) -> None:
    source = PROGRAMS / "preload/wrapper.c"
    loaded(compile_program(["gcc"], [source], tmp_path / "wrapper"), LIBRARY)


@pytest.mark.parametrize("path", [LIBRARY, MUSL_LIBRARY], ids=["glibc", "musl"])
def test_it_binds_its_own_functions_itself(path: Path) -> None:
    """Else a call within the library ends in a function of that name which the program has defined."""
    need("readelf", "nm")
    relocations = subprocess.run(["readelf", "-rW", path], capture_output=True, text=True, check=True).stdout
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True
    ).stdout
    bound_late = set(re.findall(r"JUMP_SLO\w*\s+\w+ (\w+)", relocations))
    own = {line.split()[-1].partition("@")[0] for line in symbols.splitlines()}
    assert "connect" in own
    assert "dlsym" in bound_late or path == MUSL_LIBRARY
    assert not bound_late & own


@pytest.mark.parametrize("machine", ["this", "arm64"])
def test_it_needs_no_symbol_above_the_oldest_glibc(machine: str, request: pytest.FixtureRequest) -> None:
    path = LIBRARY if machine == "this" else request.getfixturevalue("arm64_library")
    libraries, versions = needs(path)
    assert libraries <= {"libc.so.6", "libdl.so.2"}
    assert versions
    for version in versions:
        number = re.fullmatch(r"GLIBC_([\d.]+)", version)
        assert number, version
        assert tuple(map(int, number[1].split("."))) <= OLDEST, version


def test_the_one_for_musl_needs_no_file() -> None:
    """Alpine's libc has another file name than Debian's musl."""
    assert needs(MUSL_LIBRARY) == (set(), set())


@pytest.mark.parametrize("path", [LIBRARY, MUSL_LIBRARY], ids=["glibc", "musl"])
@pytest.mark.parametrize("program", ["glibc_program", "musl_program"])
def test_each_goes_into_a_program_of_each(program: str, path: Path, request: pytest.FixtureRequest) -> None:
    """It stands aside in one that is not its own."""
    assert loaded(request.getfixturevalue(program), path) == [str(path)]


def test_one_path_serves_all(tree: Path, glibc_program: Path, musl_program: Path) -> None:
    path = tree / library.LITERAL / library.NAME
    assert loaded(glibc_program, path) == [str(tree / "lib" / library.NAME)]
    assert loaded(musl_program, path) == [str(path)]


@pytest.mark.parametrize("expanded", [f"lib/{os.uname().machine}-linux-gnu", "lib64", "lib"])
def test_each_glibc_finds_its_folder(tree: Path, expanded: str) -> None:
    assert (tree / expanded / library.NAME).read_bytes() == LIBRARY.read_bytes()


def test_musl_goes_on_without_the_file(tree: Path, musl_program: Path) -> None:
    assert loaded(musl_program, tree / "elsewhere" / library.LITERAL / library.NAME) == []


def test_it_loads_on_arm64(arm64_library: Path, source: Path) -> None:
    program = compile_program([f"{ARM64}-gcc"], [source], source.with_name("arm64"))
    assert loaded(program, arm64_library, EMULATOR) == [str(arm64_library)]
