"""Direct sockets: PostgreSQL, whose every connection is a process, with pgbench and psql."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework.sockets.direct import Ends
from tests.framework.traffic.servers import POSTGRES_PORT, Postgres, missing_programs
from tests.framework.waiting import wait_until

pytestmark = pytest.mark.tools

ROWS = 100_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """A cluster in memory with pgbench's tables; it is not running."""
    if missing_programs():
        pytest.skip("not all programs are installed")
    with tempfile.TemporaryDirectory(prefix="vnicd-test-", dir="/dev/shm") as folder:
        made = Postgres(Path(folder))
        made.create(scale=1)
        yield made


@contextmanager
def serving(ends: Ends, cluster: Postgres) -> Iterator[subprocess.Popen[bytes]]:
    argv, log = cluster.server(ends.server.ip), cluster.folder / "log"
    with ends.server.serving(argv, POSTGRES_PORT, log, signal.SIGINT) as process:
        wait_until(lambda: answers(ends, cluster), 20, "the database has started")  # it listens before that
        yield process


def sql(ends: Ends, cluster: Postgres, text: str) -> str:
    return ends.client.run(cluster.psql(ends.server.ip, "-c", text)).stdout.strip()


def answers(ends: Ends, cluster: Postgres) -> bool:
    done = ends.client.run(cluster.psql(ends.server.ip, "-c", "select 41 + 1"), check=False)
    return done.stdout.strip() == "42"


def backends(ends: Ends, cluster: Postgres) -> list[int]:
    """The process ids of those that serve pgbench."""
    told = sql(ends, cluster, "select pid from pg_stat_activity where application_name = 'pgbench'")
    return [int(line) for line in told.split()]


@pytest.mark.parametrize("options", [("-S", "-M", "prepared"), ("-N", "-M", "extended"), ("-S", "-C")])
def test_pgbench(ends: Ends, cluster: Postgres, options: tuple[str, ...]) -> None:
    """Select-only, with updates, and with a connection for each transaction."""
    common = ["-n", "-c", "4", "-j", "4", "-T", "1"]
    with serving(ends, cluster), ends.watch():
        said = ends.client.run(cluster.pgbench(ends.server.ip, *common, *options)).stdout
    assert "number of failed transactions: 0 " in said
    done = re.search(r"actually processed: (\d+)", said)
    assert done and int(done[1]) > 10


def test_large_results_and_copies(ends: Ends, cluster: Postgres) -> None:
    text = "".join(
        f"{number}\t{hashlib.md5(b'%d' % number).hexdigest()}\n" for number in range(ROWS)
    ).encode()
    host = ends.server.ip
    with serving(ends, cluster), ends.watch():
        sql(ends, cluster, "drop table if exists lines; create table lines (number int, text text)")
        ends.client.feed(cluster.psql(host, "-c", "copy lines from stdin"), text)
        wrong = "select count(*) from lines where text <> md5(number::text)"
        assert sql(ends, cluster, wrong) == "0"
        got = ends.client.feed(
            cluster.psql(host, "-c", "copy (select * from lines order by 1) to stdout"), b""
        )
        assert hashlib.sha256(got).digest() == hashlib.sha256(text).digest()
        sql(ends, cluster, "drop table lines")


def test_a_client_is_killed(ends: Ends, cluster: Postgres) -> None:
    """Its servers notice and go; others are served as before."""
    with serving(ends, cluster), ends.watch() as watch:
        load = cluster.pgbench(ends.server.ip, "-S", "-n", "-c", "4", "-j", "4", "-T", "60")
        client = ends.client.popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: len(backends(ends, cluster)) == 4, 10, "four clients are served")
        watch.until(lambda now: now >= 4, "they are direct")
        client.kill()
        client.wait()
        wait_until(lambda: not backends(ends, cluster), 10, "nobody serves them any more")
        assert answers(ends, cluster)


def test_a_backend_is_killed(ends: Ends, cluster: Postgres) -> None:
    """The client gets an error at once; PostgreSQL starts all anew, and serves again."""
    with serving(ends, cluster), ends.watch():
        load = cluster.pgbench(ends.server.ip, "-S", "-n", "-c", "1", "-T", "60", "-P", "1")
        client = ends.client.popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert client.stderr is not None
        while not client.stderr.readline().startswith(
            b"progress"
        ):  # its first connection only asks, and ends
            assert client.poll() is None
        victims = backends(ends, cluster)
        subprocess.run(["kill", "-KILL", str(victims[0])], check=True)
        assert client.wait(10) != 0
        wait_until(lambda: answers(ends, cluster), 20, "PostgreSQL serves again")
