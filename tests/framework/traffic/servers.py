"""Well-known servers as tests and benchmarks start them: their files below a folder, and their command lines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.framework.fabric.partition import Argv
from tests.framework.waiting import wait_until

PROGRAMS = (
    *("iperf3", "sockperf", "redis-server", "redis-benchmark", "redis-cli", "nginx", "wrk", "ab", "sshd"),
    *("ssh", "scp", "ssh-keygen", "rsync", "socat", "curl", "setpriv"),
)

REDIS_PORT, HTTP_PORT, POSTGRES_PORT = 6379, 8080, 5432


def postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


def missing_programs() -> list[str]:
    """What of the above is not installed."""
    lacking = [name for name in PROGRAMS if not shutil.which(name)]
    return lacking + ([] if postgres_programs() else ["postgres"])


def redis(folder: Path, address: str, *options: str) -> Argv:
    """A redis-server that saves nothing; a replica writes what it gets into `folder`."""
    start = ["redis-server", "--bind", address, "--port", str(REDIS_PORT), "--protected-mode", "no"]
    return [*start, "--save", "", "--appendonly", "no", "--dir", str(folder), *options]


NGINX = """
daemon off;
master_process {master};
worker_processes {workers};
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_rlimit_nofile 10000;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {upstream}
    server {{
        listen {listen};
        root {folder}/www;
        location = /hello {{ return 200 "hello\\n"; }}
        {locations}
    }}
}}
"""

PROXY = """
        location /proxied/ {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://upstream/;
        }}
"""


def nginx(folder: Path, address: str, upstream: str = "", workers: int = 1, master: bool = True) -> Argv:
    """An nginx with its files in `folder`; `upstream` is the ADDRESS:PORT of another, for /proxied/."""
    (folder / "www").mkdir(parents=True, exist_ok=True)
    config = NGINX.format(
        master="on" if master else "off",
        workers=workers,
        folder=folder,
        listen=f"{address}:{HTTP_PORT}",
        upstream=f"upstream upstream {{ server {upstream}; keepalive 32; }}" if upstream else "",
        locations=PROXY.format() if upstream else "",
    )
    (folder / "nginx.conf").write_text(config)
    return ["nginx", "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


class Postgres:
    """A cluster of PostgreSQL that only the user postgres can use; it is not safe from a loss of power."""

    OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=50")

    def __init__(self, folder: Path) -> None:
        programs = postgres_programs()
        assert programs, "PostgreSQL is not installed"
        self.programs, self.folder = programs, folder

    def program(self, name: str, *words: str) -> Argv:
        """A command of PostgreSQL's, as the user postgres."""
        become = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        return [*become, str(self.programs / name), *words]

    def server(self, *addresses: str) -> Argv:
        """The server, on these addresses and on a Unix socket in `folder`."""
        settings = (*self.OPTIONS, f"listen_addresses={','.join(addresses)}", f"port={POSTGRES_PORT}")
        options = [word for setting in settings for word in ("-c", setting)]
        return self.program("postgres", "-D", str(self.folder / "data"), "-k", str(self.folder), *options)

    def pgbench(self, host: str, *options: str) -> Argv:
        where = ["-h", host, "-p", str(POSTGRES_PORT), "-U", "postgres"]
        return self.program("pgbench", *where, *options, "postgres")

    def psql(self, host: str, *options: str) -> Argv:
        where = ["-h", host, "-p", str(POSTGRES_PORT), "-U", "postgres", "-X", "-q", "-A", "-t"]
        return self.program("psql", *where, *options, "postgres")

    def create(self, scale: int) -> None:
        """Makes the cluster and pgbench's tables in it, with a server that listens nowhere."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(self.folder, "postgres", "postgres")
        data = str(self.folder / "data")
        self._do(self.program("initdb", "-D", data, "-A", "trust", "-N", "--locale=C", "-E", "UTF8"))
        with (self.folder / "data/pg_hba.conf").open("a") as file:
            file.write("host all all all trust\n")
        with self.running():
            self._do(self.pgbench(str(self.folder), "-i", "-q", "-s", str(scale)))

    @contextmanager
    def running(self) -> Iterator[None]:
        """The server while the cluster is made."""
        process = subprocess.Popen(
            self.server(), cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            ready = self.program("pg_isready", "-q", "-h", str(self.folder), "-p", str(POSTGRES_PORT))
            wait_until(lambda: subprocess.run(ready, cwd="/").returncode == 0, 20, "PostgreSQL is ready")
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)

    @staticmethod
    def _do(argv: Argv) -> None:
        done = subprocess.run(
            argv, cwd="/", capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        )
        assert done.returncode == 0, f"{argv}: exit {done.returncode}: {done.stdout}{done.stderr}"
