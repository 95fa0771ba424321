"""Direct sockets between a program of this machine and one of another Debian, of musl, or of arm64."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.programs import PROGRAMS as FILES
from tests.framework.sockets.direct import End, Ends
from tests.framework.sockets.images import PROGRAMS, Preloaded, Within, image
from tests.framework.sockets.libraries import ARM64, EMULATOR, build_library, compile_program, need
from tests.framework.waiting import wait_for_output
from tests.system.conftest import Pair
from vnicd.cli import library

pytestmark = pytest.mark.tools

PORT = 7300
MEGABYTES = 4
SEED = int(os.environ.get("VNICD_SEED") or random.SystemRandom().randrange(1 << 31))
"""Another one each time; a failed test names it, and VNICD_SEED brings it back."""

SOURCES = sorted((FILES / "stream").glob("*.c"))

ECHO = (FILES / "connected/echoes.py").read_text()
SEND = (FILES / "connected/sends.py").read_text()
"""Given as text, as the images have no such files."""

SHELL = "busybox-static"
DEBIAN_11 = ("bullseye", SHELL, "libc6-dev", "python3-minimal")
DEBIAN_13 = ("trixie", SHELL, "base-files", "libc6", "python3-minimal")
MUSL = ("bookworm", SHELL, "musl")
MUSL_ARM64 = ("bookworm", "musl", "musl-dev")


@dataclass(frozen=True)
class World:
    """Where programs run: how an end of it is made in a partition, and the stream program there.

    The emulator loses its way where a process with threads forks: one connection then, and no style that forks.
    """

    end: Callable[[Partition], End]
    program: str
    connections: int = 4
    style: str = "any"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as an installation lays it out."""
    folder = tmp_path_factory.mktemp("prefix") / "preload"
    library.lay_out(folder)
    return folder


@pytest.fixture(scope="module")
def here(programs: Path, preload: Path) -> World:
    program = compile_program(["gcc"], SOURCES, programs / "here")
    path = preload / library.LITERAL / library.NAME
    return World(lambda partition: Preloaded(partition, True, path), str(program))


@pytest.fixture(scope="module")
def debian_11(programs: Path, preload: Path) -> World:
    """glibc 2.31; its program is compiled with its own headers and libraries."""
    root = image(*DEBIAN_11)
    compiler = ["gcc", f"--sysroot={root}", f"-B{root}/usr/lib/{os.uname().machine}-linux-gnu"]
    program = compile_program(compiler, SOURCES, programs / "debian-11")
    return _within(root, program, preload)


@pytest.fixture(scope="module")
def debian_13(here: World, programs: Path, preload: Path) -> World:
    """glibc 2.41, with a program of this machine."""
    return _within(image(*DEBIAN_13), programs / "here", preload)


@pytest.fixture(scope="module")
def musl(programs: Path, preload: Path) -> World:
    """A root that has no other C library, as Alpine."""
    program = compile_program(["musl-gcc"], SOURCES, programs / "musl")
    return _within(image(*MUSL), program, preload)


@pytest.fixture(scope="module")
def arm64(programs: Path) -> World:
    need(*EMULATOR[:1])
    program = compile_program([f"{ARM64}-gcc"], SOURCES, programs / "arm64")
    path = build_library(f"{ARM64}-gcc", "glibc")
    return World(lambda partition: Preloaded(partition, True, path, EMULATOR), str(program), 1, "mixed")


@pytest.fixture(scope="module")
def arm64_musl(programs: Path) -> World:
    root = image(*MUSL_ARM64, architecture="arm64")
    need(*EMULATOR[:1])
    specs = programs / "musl-arm64.specs"
    text = (root / "usr/lib/aarch64-linux-musl/musl-gcc.specs").read_text()
    specs.write_text(text.replace(" /usr/", f" {root}/usr/").replace("-L/usr/", f"-L{root}/usr/"))
    compiler = [f"{ARM64}-gcc", f"-specs={specs}", f"-L{root}/lib/aarch64-linux-musl"]
    compiler += ["-idirafter", f"/usr/{ARM64}/include"]
    program = compile_program([*compiler, "-mno-outline-atomics"], SOURCES, programs / "musl-arm64")
    path = build_library(" ".join(compiler), "musl", programs / "libraries-musl-arm64")
    emulator = [*EMULATOR[:1], "-L", str(root)]
    return World(lambda partition: Preloaded(partition, True, path, emulator), str(program), 1, "mixed")


def _within(root: Path, program: Path, preload: Path) -> World:
    return World(
        lambda partition: Within(partition, True, root, preload, program.parent),
        f"{PROGRAMS}/{program.name}",
    )


WORLDS = ("debian_11", "debian_13", "musl", "arm64", "arm64_musl")


@pytest.mark.parametrize("asks", [True, False], ids=["asks", "serves"])
@pytest.mark.parametrize("name", WORLDS)
def test_streams_to_a_program_of_this_machine(
    name: str, asks: bool, pair: Pair, here: World, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Every byte both ways; each end must have both regions mapped while they are connected."""
    other: World = request.getfixturevalue(name)
    client, server = (other, here) if asks else (here, other)
    ends = Ends(client.end(pair[0]), server.end(pair[1]))
    numbers = [ends.server.ip, str(PORT), str(SEED), str(MEGABYTES), str(other.connections)]
    log = tmp_path / "serve.log"
    with (
        ends.watch() as watch,
        ends.server.serving([server.program, "serve", *numbers, server.style], PORT, log) as serving,
        ends.client.running([client.program, "ask", *numbers, client.style]) as asking,
    ):
        assert asking.stdout
        wait_for_output(asking.stdout, b"connected", 20)
        watch.until(lambda now: now >= other.connections, "all connections are direct")
        said = f"seed {SEED}\n{asking.communicate(timeout=100)[0].decode()}"
        assert asking.returncode == 0, said + log.read_text()
        assert serving.wait(100) == 0, said + log.read_text()


@pytest.mark.parametrize("name", ["debian_11", "debian_13"])
def test_another_debians_python_serves(
    name: str, pair: Pair, here: World, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    other: World = request.getfixturevalue(name)
    ends = Ends(here.end(pair[0]), other.end(pair[1]))
    where = [ends.server.ip, str(PORT + 1)]
    with (
        ends.watch() as watch,
        ends.server.serving(["/usr/bin/python3", "-c", ECHO, *where], PORT + 1, tmp_path / "log") as serving,
        ends.client.running(["python3", "-c", SEND, *where]) as asking,
    ):
        assert asking.stdout
        wait_for_output(asking.stdout, b"connected", 20)
        watch.until(lambda now: now >= 1, "the connection is direct")
        said, _ = asking.communicate(timeout=60)
        assert asking.returncode == 0, said
        assert serving.wait(20) == 0


def test_a_musl_program_gets_the_library_by_exec_alone(
    pair: Pair, musl: World, here: World, programs: Path
) -> None:
    """vnicctl exec --direct names one path for all; without an installation it is that of glibc's."""
    client, server = pair
    numbers = [server.ip, str(PORT + 2), str(SEED), "1", "1", "thread"]
    here_end = here.end(server)
    with here_end.serving([here.program, "serve", *numbers], PORT + 2) as serving:
        argv = ["exec", client.name, "--direct", "--", str(programs / "musl"), "ask", *numbers]
        asking = client.fabric.popen_cli(*argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        said, _ = asking.communicate(timeout=60)
        assert asking.returncode == 0, said
        assert serving.wait(20) == 0
