"""Direct sockets: Python's http.server and asyncio, curl and socat."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.programs import asyncecho
from tests.framework.sockets.direct import Ends

pytestmark = pytest.mark.tools

HTTP_PORT, SOCAT_PORT = 8000, 7100
SIZE = 100 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of 100 MB."""
    path = tmp_path_factory.mktemp("large") / "file"
    path.write_bytes(random.Random(5).randbytes(SIZE))
    yield path
    path.unlink()


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_curl_and_http_server(ends: Ends, large: Path) -> None:
    serve = [sys.executable, "-m", "http.server", str(HTTP_PORT), "--bind", ends.server.ip]
    where = f"http://{ends.server.ip}:{HTTP_PORT}/{large.name}"
    with ends.server.serving([*serve, "--directory", str(large.parent)], HTTP_PORT), ends.watch():
        got = ends.client.feed(["curl", "-sS", "--fail", where], b"")
        # A client that goes in the middle does no harm to the next one.
        ends.client.run(
            ["curl", "-sS", "--fail", "--max-time", "0.05", "--limit-rate", "1M", "-o", "/dev/null", where],
            check=False,
        )
        several = ends.client.feed(["curl", "-sS", "--fail", "-Z", *[where] * 3], b"")
    assert hash_of(got) == hash_of(large.read_bytes())
    assert len(several) == 3 * SIZE


def test_python_asks_http_server(ends: Ends, large: Path) -> None:
    """Python at both ends: buffered reading by socket.makefile, and sending in large pieces."""
    serve = [sys.executable, "-m", "http.server", str(HTTP_PORT), "--bind", ends.server.ip]
    program = (
        "import hashlib, sys, urllib.request as r;"
        "print(hashlib.sha256(r.urlopen(sys.argv[1]).read()).hexdigest())"
    )
    with ends.server.serving([*serve, "--directory", str(large.parent)], HTTP_PORT), ends.watch():
        url = f"http://{ends.server.ip}:{HTTP_PORT}/{large.name}"
        said = ends.client.run([sys.executable, "-c", program, url]).stdout
    assert said.strip() == hash_of(large.read_bytes())


def test_asyncio(ends: Ends) -> None:
    program = [sys.executable, "-m", "tests.framework.programs.asyncecho"]
    with ends.server.serving([*program, "serve", ends.server.ip], asyncecho.PORT), ends.watch():
        said = ends.client.run([*program, "ask", ends.server.ip, "8", "1"]).stdout
        assert "came back over 8 connections" in said


def test_socat_echo(ends: Ends) -> None:
    """A process for each connection, which gets it by a fork; megabytes there and back at once."""
    listen = f"TCP-LISTEN:{SOCAT_PORT},bind={ends.server.ip},reuseaddr,fork"
    data = random.Random(6).randbytes(20 << 20)
    with ends.server.serving(["socat", listen, "EXEC:cat"], SOCAT_PORT), ends.watch():
        for _ in range(2):
            got = ends.client.feed(["socat", "-t", "10", "-", f"TCP:{ends.server.ip}:{SOCAT_PORT}"], data)
            assert hash_of(got) == hash_of(data)


def test_socat_executes_a_program(ends: Ends) -> None:
    """The program inherits the connection as its input and output (nofork: by exec in socat's own process)."""
    listen = f"TCP-LISTEN:{SOCAT_PORT},bind={ends.server.ip},reuseaddr"
    data = random.Random(7).randbytes(5 << 20)
    for how in ("EXEC:sha256sum", "EXEC:sha256sum,nofork"):
        with ends.server.serving(["socat", listen, how], SOCAT_PORT), ends.watch():
            got = ends.client.feed(["socat", "-t", "10", "-", f"TCP:{ends.server.ip}:{SOCAT_PORT}"], data)
        assert got.split()[0].decode() == hash_of(data)
