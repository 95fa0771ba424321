"""Databases and caches: redis, memcached, PostgreSQL, MariaDB with both of its thread models, Perl's DBI."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.compat.case import Case, pattern, script, user
from tests.compat.places import BUILD, PROGRAMS
from tests.compat.processes import kill_tree
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv
from tests.framework.traffic.servers import Postgres, postgres_programs
from tests.framework.waiting import wait_until


class Redis(Program):
    name = "redis"
    needs = Needs(debian=(("redis-server", "redis-server"), ("redis-tools", "redis-cli")))

    def version(self) -> str:
        return self.said("redis-server", "--version", pattern=r"v=(\S+)")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(case.server, redis_server(case)):
            yield

    def check(self, case: Case) -> None:
        host, port = case.where
        cli = ["redis-cli", "-h", host, "-p", port]
        value = pattern(1, 8 << 20)
        assert case.client.feed([*cli, "-x", "SET", "large"], value) == b"OK\n"
        got = case.client.feed([*cli, "--raw", "GET", "large"], b"")
        assert got[:-1] == value, f"{len(got)} bytes are wrong"
        commands = b"".join(b"SET key:%d %d\r\n" % (number, number * 7) for number in range(50_000))
        said = case.client.feed([*cli, "--pipe"], commands).decode()
        assert "errors: 0, replies: 50000" in said, said[-200:]
        assert case.run([*cli, "GET", "key:34567"]).strip() == str(34567 * 7)
        rates = case.run(["redis-benchmark", "-h", host, "-p", port, "-n", "20000", "-q", "-t", "set,get"])
        assert len(re.findall(r"[1-9][\d.]* requests per second", rates)) == 2, rates[-200:]

    def hold(self, case: Case) -> Holder:
        host, port = case.where
        return case.held(["redis-cli", "-h", host, "-p", port, "SUBSCRIBE", "news"], b"news")


def redis_server(case: Case) -> Argv:
    host, port = case.where
    start = ["redis-server", "--bind", host, "--port", port, "--protected-mode", "no"]
    return [*start, "--save", "", "--appendonly", "no", "--dir", str(case.folder)]


class Memcached(Program):
    name = "memcached"
    needs = Needs(debian=(("memcached", "memcached"),))

    def version(self) -> str:
        return self.said("memcached", "--version")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        host, port = case.where
        with case.running(
            case.server, ["memcached", "-u", "root", "-l", host, "-p", port, "-U", "0", "-t", "4"]
        ):
            yield

    def check(self, case: Case) -> None:
        for _ in range(3):
            assert "all right" in case.run(script("memcached.py", *case.where))

    def hold(self, case: Case) -> Holder:
        return case.hold_open(r"version\r\n")


class PostgreSQL(Program):
    """One cluster serves all cells; it recovers by itself after each kill."""

    name = "PostgreSQL"
    needs = Needs(debian=(("postgresql", "/usr/lib/postgresql/*/bin/postgres"),))
    FOLDER = BUILD / "postgres"

    def version(self) -> str:
        return self.said(f"{postgres_programs()}/postgres", "--version")

    def _cluster(self) -> Postgres:
        cluster = Postgres(self.FOLDER)
        if not (self.FOLDER / "made").exists():
            subprocess.run(["rm", "-rf", str(self.FOLDER)], check=True)
            cluster.create(1)
            (self.FOLDER / "made").touch()
        return cluster

    def _where(self, case: Case, program: str, *options: str) -> Argv:
        host, port = case.where
        words = ["-h", host, "-p", port, "-U", "postgres", *options, "postgres"]
        return self._cluster().program(program, *words)

    def _sql(self, case: Case, command: str, data: bytes = b"") -> bytes:
        return case.client.feed(self._where(case, "psql", "-X", "-q", "-A", "-t", "-c", command), data)

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        argv = [*self._cluster().server(case.server.ip), "-c", f"port={case.port}"]
        (self.FOLDER / "data/postmaster.pid").unlink(missing_ok=True)
        with case.running(case.server, argv, cwd=Path("/")):
            ready = self._where(case, "psql", "-X", "-c", "select 1")
            wait_until(
                lambda: case.server.run(ready, check=False).returncode == 0, 30, "PostgreSQL takes queries"
            )
            yield

    def check(self, case: Case) -> None:
        sums = b"".join(b"%d\n" % number for number in range(1, 100_001))
        self._sql(case, "drop table if exists sums; create table sums (n int)")
        self._sql(case, "copy sums from stdin", sums)
        assert self._sql(case, "copy (select n from sums order by n) to stdout") == sums, "rows are wrong"
        said = case.run(self._where(case, "pgbench", "-n", "-c", "4", "-j", "2", "-T", "2"))
        assert re.search(r"number of failed transactions: 0 ", said), said[-300:]
        said = case.run(self._where(case, "pgbench", "-n", "-C", "-S", "-c", "2", "-t", "50"))
        assert "number of transactions actually processed: 100/100" in said, said[-300:]

    def hold(self, case: Case) -> Holder:
        return case.held(
            self._where(case, "pgbench", "-n", "-S", "-c", "2", "-P", "1", "-T", "60"), b"progress"
        )


class MariaDB(Program):
    """mariadb-slap with many threads, and Perl's DBI with time-outs by alarm()."""

    needs = Needs(
        debian=(
            ("mariadb-server", "mariadbd"),
            ("mariadb-client", "mariadb-slap"),
            ("libdbd-mysql-perl", "/usr/lib/*/perl5/*/DBD/mysql.pm"),
        )
    )
    FOLDER = BUILD / "mariadb"
    limit = 90

    def __init__(self, model: str) -> None:
        self.name, self.model = f"MariaDB {model}", model

    def version(self) -> str:
        return self.said("/usr/sbin/mariadbd", "--version", pattern=r"Ver (\d+\.\d+\.\d+)")

    def _data(self) -> Path:
        data = self.FOLDER / "data"
        if not (self.FOLDER / "made").exists():
            subprocess.run(["rm", "-rf", str(self.FOLDER)], check=True)
            self.FOLDER.mkdir(parents=True)
            subprocess.run(["chown", "mysql:", str(self.FOLDER)], check=True)
            make = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal"]
            subprocess.run(
                [*make, "--user=mysql", f"--datadir={data}"], check=True, capture_output=True, timeout=60
            )
            (self.FOLDER / "made").touch()
        return data

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        host, port = case.where
        options = ["--no-defaults", f"--datadir={self._data()}", f"--bind-address={host}", f"--port={port}"]
        options += [f"--socket={self.FOLDER}/socket", "--skip-grant-tables", "--skip-name-resolve"]
        options += [
            f"--thread-handling={self.model}",
            "--thread-pool-size=2",
            "--innodb-buffer-pool-size=32M",
        ]
        options += ["--innodb-flush-log-at-trx-commit=0", "--max-allowed-packet=64M", "--wait-timeout=60"]
        with case.running(case.server, [*user("mysql"), "/usr/sbin/mariadbd", *options]):
            yield

    def _perl(self, case: Case, kind: str) -> Argv:
        return ["perl", str(PROGRAMS / "other/dbi.pl"), *case.where, kind]

    def check(self, case: Case) -> None:
        host, port = case.where
        where = ["--no-defaults", "-h", host, "-P", port, "-u", "root"]
        sum_ = "select count(*), sum(length(repeat(seq, 50))) from seq_1_to_100000"
        got = case.run(["mariadb", *where, "-D", "test", "-N", "-B", "-e", sum_]).split()
        assert got == ["100000", "24444750"], got
        load = ["--concurrency=8", "--iterations=2", "--number-of-queries=800", "--auto-generate-sql"]
        said = case.run(["mariadb-slap", *where, *load], timeout=30)
        assert "Average number of seconds" in said, said[-200:]
        done = case.client.run(self._perl(case, "ask"), check=False, timeout=30)
        assert "all right" in done.stdout, f"DBI: {done.stdout[-100:]}{done.stderr[-300:]}"

    def hold(self, case: Case) -> Holder:
        return case.held(self._perl(case, "hold"))


class Pool(Program):
    """Connection pools of Python over the death of their server: the first call afterwards must succeed."""

    holds = False

    def __init__(self, name: str, kind: str, package: str) -> None:
        self.name, self.kind = name, kind
        self.needs = Needs(debian=Redis.needs.debian, pip=(package, "gunicorn"))
        self.package = package

    def version(self) -> str:
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return self.said(*script("hold.py")[:1], "-c", code)

    def _server(self, case: Case) -> Argv:
        if self.kind == "redis":
            return redis_server(case)
        host, port = case.where
        words = ["-k", "gthread", "--keep-alive", "60", "--bind", f"{host}:{port}", "wsgi_echo:app"]
        return [*case.env(PYTHONPATH=PROGRAMS / "python"), *script("hold.py")[:1], "-m", "gunicorn", *words]

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        yield

    def check(self, case: Case) -> None:
        with case.running(case.server, self._server(case)):
            client = case.held(script("pool.py", self.kind, *case.where), b"before")
            case.linger()
        assert client.stdin and client.stdout
        for _ in range(3):
            with case.running(case.server, self._server(case)):
                client.stdin.write(b"\n")
                said = client.stdout.readline() or b"nothing"
                while said in (b"\n", b"before\n"):
                    said = client.stdout.readline()
                assert said == b"after\n", said.decode()
        kill_tree(client.pid)


STORES = [
    Redis(),
    Memcached(),
    PostgreSQL(),
    MariaDB("one-thread-per-connection"),
    MariaDB("pool-of-threads"),
    Pool("requests' pool, server restarted", "requests", "requests"),
    Pool("redis-py's pool, server restarted", "redis", "redis"),
]
