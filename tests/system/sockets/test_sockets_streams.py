"""Direct sockets: every byte of streams that are written, read and waited for in every way, by chance from a seed."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.options import LONG
from tests.framework.programs import PROGRAMS
from tests.framework.sockets.direct import Ends
from tests.framework.waiting import wait_for_output

PORT = 7200
SOURCES = PROGRAMS / "stream"
STYLES = ("thread", "fork", "poll", "select", "epoll", "edge", "mixed")

LARGE = ("auto", "0", "1")
"""Whether rings become large: see VNICD_LARGE in docs/reference/environment.md."""

MEGABYTES = 4096 if LONG else 64
"""That each connection carries each way; connections of one case share them."""

SEED = int(os.environ.get("VNICD_SEED") or random.SystemRandom().randrange(1 << 31))
"""Another one each time; a failed test names it, and VNICD_SEED brings it back."""

pytestmark = pytest.mark.timeout(1800 if LONG else 120)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program of tests/framework/programs/stream/stream.c."""
    program = tmp_path_factory.mktemp("stream") / "stream"
    sources = [str(path) for path in sorted(SOURCES.glob("stream*.c"))]
    flags = ["-O2", "-g", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run(["gcc", *flags, "-o", str(program), *sources], check=True)
    yield program
    program.unlink()


def exchange(ends: Ends, program: Path, seed: int, connections: int, ask: str, serve: str) -> None:
    """Both ends send on all connections at once; each knows what must come."""
    large = random.Random(f"{seed} {ask} {serve}").choice(LARGE)
    argv = ["env", f"VNICD_LARGE={large}", str(program)]
    numbers = [ends.server.ip, str(PORT), str(seed), str(max(1, MEGABYTES // connections)), str(connections)]
    log = program.with_name(f"serve-{seed}.log")
    timeout = 1700 if LONG else 100
    with (
        ends.watch() as watch,
        ends.server.serving([*argv, "serve", *numbers, serve], PORT, log) as server,
        ends.client.running([*argv, "ask", *numbers, ask]) as asking,
    ):
        assert asking.stdout
        wait_for_output(asking.stdout, b"connected", 20)
        watch.until(lambda now: now >= connections, "all connections are direct")
        said = f"seed {seed}, VNICD_LARGE={large}\n{asking.communicate(timeout=timeout)[0].decode()}"
        assert asking.returncode == 0, said + log.read_text()
        assert server.wait(timeout) == 0, said + log.read_text()


@pytest.mark.parametrize("serve", STYLES)
@pytest.mark.parametrize("ask", STYLES)
def test_each_style_with_each(equal_ends: Ends, program: Path, ask: str, serve: str) -> None:
    exchange(equal_ends, program, SEED + 1, 1, ask, serve)


@pytest.mark.parametrize("number", range(4))
def test_many_connections_in_threads_and_processes(ends: Ends, program: Path, number: int) -> None:
    exchange(ends, program, SEED + 100 + number, 8, "any", "any")
