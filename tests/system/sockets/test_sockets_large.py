"""Direct sockets: the large ring of a fast stream, who gets it, and that what goes through it is what was sent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework.programs import PROGRAMS
from tests.framework.sockets import loopback
from tests.framework.sockets.direct import LIBRARY, preloading
from tests.framework.sockets.hostile import Asking, echo_server, program
from tests.framework.waiting import wait_for_output, wait_until
from vnicd.sockets import abi

MOST_LARGE = 32
"""Of one process; cext/preload/stream/large.c."""

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY}: run scripts/setup")


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with loopback.serving() as name:
        yield name


@contextmanager
def running(name: str, *arguments: object, **variables: object) -> Iterator[subprocess.Popen[bytes]]:
    argv = preloading(
        [sys.executable, str(PROGRAMS / "large" / name), *map(str, arguments)],
        True,
        VNICD_LOOPBACK=1,
        **variables,
    )
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def large(pid: int, access: str) -> int:
    """How many whole regions a process has mapped: its own to write ("rw-s"), or others' to read ("r--s")."""
    found = 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "vnicd-region" in line and line.split()[1] == access:
            first, _, last = line.split()[0].partition("-")
            found += int(last, 16) - int(first, 16) == abi.REGION_BYTES
    return found


@contextmanager
def sent(
    broker: str, count: int, megabytes: int, reader: str = "fast", keep: bool = True, **variables: object
) -> Iterator[tuple[int, int]]:
    """The process ids of who reads and who has sent, once all that arrived was right; with the last open, or all."""
    with running("sink.py", reader, int(keep), VNICD_BROKER=broker, **variables) as sink:
        assert sink.stdout
        port = int(sink.stdout.readline())
        with running(
            "source.py", port, count, megabytes, int(keep), VNICD_BROKER=broker, **variables
        ) as source:
            assert source.stdout
            wait_for_output(source.stdout, b"sent", 60)
            yield sink.pid, source.pid


@pytest.mark.parametrize("reader", ["fast", "slow"])
def test_a_stream_goes_on_in_the_large_ring(broker: str, reader: str) -> None:
    """From one write to the next, while there are bytes in the small one; also when the reader only looks at them."""
    with sent(broker, 1, 50, reader, VNICD_LARGE=1) as (sink, source):
        assert (large(source, "rw-s"), large(sink, "r--s")) == (1, 1)


def test_few_streams_of_a_program_have_it(broker: str) -> None:
    with sent(broker, MOST_LARGE + 8, 4, VNICD_LARGE=1) as (sink, source):
        assert (large(source, "rw-s"), large(sink, "r--s")) == (MOST_LARGE, MOST_LARGE)


def test_none_has_it_when_it_is_switched_off(broker: str) -> None:
    with sent(broker, 1, 50, VNICD_LARGE=0) as (sink, source):
        assert (large(source, "rw-s"), large(sink, "r--s")) == (0, 0)


def test_it_ends_with_the_connection(broker: str) -> None:
    """One connection after the other, more than can have it at a time."""
    with sent(broker, MOST_LARGE + 8, 4, keep=False, VNICD_LARGE=1) as (sink, source):
        assert large(source, "rw-s") == 1
        wait_until(lambda: not large(sink, "r--s"), 5, "all are closed there")


def test_the_first_write_to_who_has_closed_succeeds_as_by_tcp(broker: str) -> None:
    """After small messages, also in the large ring: that nobody wants it is known only when the reset comes."""
    with running("closed.py", VNICD_BROKER=broker, VNICD_LARGE=1) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"delivered\n"
        assert (large(process.pid, "rw-s"), large(process.pid, "r--s")) == (1, 1)
        process.stdin.write(b"\n")
        assert process.stdout.readline() == b"4\n"


def test_a_limit_of_file_sizes_ends_nobody(broker: str) -> None:
    """A signal would: memory counts as a file there."""
    with (
        echo_server("wait", VNICD_BROKER=broker) as (_, port),
        program("ask", "prlimit", "--fsize=1000", VNICD_BROKER=broker) as process,
    ):
        assert Asking(process)(f"kind {port}") == "plain"
