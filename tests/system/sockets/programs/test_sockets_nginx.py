"""Direct sockets: nginx with wrk, ab and curl, as a proxy, and reloaded again and again under load."""

from __future__ import annotations

import hashlib
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.loads.parsing import wrk_per_second
from tests.framework.options import LONG
from tests.framework.sockets.direct import End, Ends
from tests.framework.traffic.servers import HTTP_PORT, nginx
from tests.framework.waiting import pace, wait_until

pytestmark = pytest.mark.tools

RELOAD_SECONDS = 60 if LONG else 6
RELOADS_PER_SECOND = 0.5 if LONG else 1
FILE = random.Random(2).randbytes(20 << 20)


@contextmanager
def serving(
    end: End, folder: Path, upstream: str = "", workers: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    """An nginx with a large file; no worker of it may crash."""
    argv = nginx(folder, end.ip, upstream, workers)
    (folder / "www/file").write_bytes(FILE)
    with end.serving(argv, HTTP_PORT, folder / "said.log") as process:
        yield process
    wait_until(lambda: not (folder / "nginx.pid").exists(), 10, "nginx has ended in order")
    log = (folder / "error.log").read_text()
    assert "exited on signal" not in log, log
    assert not re.search(r"\[(alert|emerg|crit)\]", log), log


def url(end: End, path: str) -> str:
    return f"http://{end.ip}:{HTTP_PORT}{path}"


def wrk(ends: Ends, path: str, *options: str) -> float:
    """Requests per second, all answered well, from two threads and 20 connections."""
    said = ends.client.run(
        ["wrk", "-t", "2", "-c", "20", "-d", "1s", *options, url(ends.server, path)]
    ).stdout
    return wrk_per_second(said)


def check_ab(said: str) -> int:
    """How many requests ab made; none of them may have failed."""
    found = {key: int(value) for key, value in re.findall(r"^([A-Z][\w -]+):\s+(\d+)", said, re.MULTILINE)}
    assert found["Failed requests"] == 0, said
    assert "Non-2xx responses" not in found, said
    assert "Write errors" not in found, said
    return found["Complete requests"]


def fetch_hash(ends: Ends, path: str) -> bytes:
    """The hash of what curl gets."""
    return hashlib.sha256(ends.client.feed(["curl", "-sS", "--fail", url(ends.server, path)], b"")).digest()


def test_wrk(ends: Ends, tmp_path: Path) -> None:
    with serving(ends.server, tmp_path), ends.watch():
        assert wrk(ends, "/hello") > 100


def test_wrk_with_a_connection_per_request(ends: Ends, tmp_path: Path) -> None:
    with serving(ends.server, tmp_path), ends.watch():
        assert wrk(ends, "/hello", "-H", "Connection: close") > 100


@pytest.mark.parametrize("options", [(), ("-k",)])
def test_ab(ends: Ends, tmp_path: Path, options: tuple[str, ...]) -> None:
    ask = ["ab", "-q", "-n", "5000", "-c", "20", *options, url(ends.server, "/hello")]
    with serving(ends.server, tmp_path, workers=2), ends.watch():
        assert check_ab(ends.client.run(ask).stdout) == 5000


def test_a_file_arrives_as_it_is(ends: Ends, tmp_path: Path) -> None:
    with serving(ends.server, tmp_path), ends.watch():
        for _ in range(3):
            assert fetch_hash(ends, "/file") == hashlib.sha256(FILE).digest()


def test_proxy(ends: Ends, tmp_path: Path) -> None:
    """From one partition to an upstream in the other: the proxy is a server and a client."""
    behind, front = tmp_path / "behind", tmp_path / "front"
    with (
        serving(ends.client, behind),
        serving(ends.server, front, upstream=f"{ends.client.ip}:{HTTP_PORT}"),
        ends.watch(),
    ):
        assert wrk(ends, "/proxied/hello") > 100
        assert fetch_hash(ends, "/proxied/file") == hashlib.sha256(FILE).digest()


@pytest.mark.timeout(RELOAD_SECONDS + 120)
def test_reload_under_load(ends: Ends, tmp_path: Path) -> None:
    """Not one request fails while the workers are replaced again and again.

    Each request has a connection of its own: one that is kept may end at any time, and does so with TCP as well.
    """
    load = [
        "ab",
        "-q",
        "-r",
        "-t",
        str(RELOAD_SECONDS),
        "-n",
        "2000000",
        "-c",
        "8",
        url(ends.server, "/hello"),
    ]
    with serving(ends.server, tmp_path, workers=2) as server, ends.watch():
        running = ends.client.popen(load, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in pace(RELOADS_PER_SECOND, RELOAD_SECONDS - 1):
            server.send_signal(signal.SIGHUP)
        said = running.communicate(timeout=60)[0].decode()
        assert running.returncode == 0, said
        assert check_ab(said) > 100 * RELOAD_SECONDS


def test_reload_with_kept_connections(ends: Ends, tmp_path: Path) -> None:
    """Clients that keep their connections get nothing but good answers, and connect again where one ended."""
    argv = ["wrk", "-t", "1", "-c", "20", "-d", "4s", url(ends.server, "/hello")]
    with serving(ends.server, tmp_path) as server, ends.watch():
        running = ends.client.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in pace(2, 2.5):
            server.send_signal(signal.SIGHUP)
        said = running.communicate(timeout=30)[0].decode()
    assert running.returncode == 0, said
    assert "Non-2xx" not in said, said
    assert re.search(r"Requests/sec:\s+\d{3,}", said), said
    errors = re.search(r"Socket errors: connect (\d+), .* timeout (\d+)", said)
    assert not errors or errors.groups() == ("0", "0"), said
