"""What is measured of direct sockets: well-known programs, one worker or thread for each server."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.bench.environments import Environment
from tests.bench.figures import Metric
from tests.bench.loads import parsing
from tests.bench.loads import workloads as w
from tests.bench.loads.hogs import hogs
from tests.bench.loads.tools import ToolFailed, run, server
from tests.bench.loads.workloads import Settings, Workload
from tests.framework.traffic.servers import HTTP_PORT, POSTGRES_PORT, REDIS_PORT, Postgres, nginx, redis
from tests.framework.waiting import wait_for_output

CONNECT_PORT = 7777
PLAIN_PORT = 7778
"""Where no program with the library listens; that one has, is known for a moment longer."""
NO_PARTITION = "10.77.0.99"
"""An address in the network of all environments that nobody has."""

FIRSTS = 25
"""Programs whose first connect is measured."""

SCALE = 2
"""Of pgbench's tables: all of it is in memory."""

CALIBRATION = 20_000
"""Requests by which it is found out how many of them redis-benchmark can make in the time it is given."""

APACHE = Path(__file__).parents[2] / "compat/programs/config/apache.conf"
ONE_PROCESS = """StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64
"""
"""Of Apache: it must not end one beside the other, which closes connections."""

WRK_CONNECTIONS, CLOSING_CONNECTIONS = 50, 8


@cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory for what programs need; it goes when this process ends, whatever happened."""
    folder = tempfile.TemporaryDirectory(prefix="vnicd-bench-", dir="/dev/shm")
    Path(folder.name).chmod(0o711)
    return folder


@cache
def connect_program() -> str:
    """tests/bench/loads/connect.c, compiled."""
    program = Path(scratch().name) / "connect"
    source = Path(__file__).with_name("connect.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
    return str(program)


@cache
def postgres() -> Postgres:
    """A cluster with pgbench's tables, made when it is used first."""
    cluster = Postgres(Path(scratch().name) / "postgres")
    cluster.create(SCALE)
    return cluster


@contextmanager
def idle(environment: Environment, port: int, count: int) -> Iterator[None]:
    """So many connections from a to a server at b, on which nothing happens."""
    command = [connect_program(), "hold", environment.address["b"], str(port), str(count)]
    process = subprocess.Popen(
        environment.argv_in("a", command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    try:
        assert process.stdout
        wait_for_output(process.stdout, b"held", 60)
        yield
    finally:
        process.kill()
        process.communicate()


def redis_per_second(environment: Environment, settings: Settings, *options: str, held: int = 0) -> float:
    """GET requests per second with these options of redis-benchmark, beside `held` idle connections."""
    where = ["redis-benchmark", "-h", environment.address["b"], "-p", str(REDIS_PORT), "--csv"]

    def benchmark(test: str, count: int, seconds: float) -> float:
        command = [*where, "-t", test, "-n", str(count), *options]
        return parsing.redis_per_second(run(environment, "a", command, seconds))

    command = redis(Path(scratch().name), environment.address["b"])
    with (
        server(environment, "b", command, REDIS_PORT, "tcp"),
        idle(environment, REDIS_PORT, held),
    ):
        rate = benchmark("set", CALIBRATION, 0)
        return benchmark("get", max(CALIBRATION, round(rate * settings.seconds)), 3 * settings.seconds)


def http(environment: Environment, settings: Settings, *options: str) -> float:
    """Requests per second of one nginx without a master process, asked by one thread of wrk."""
    command = nginx(Path(scratch().name) / "nginx", environment.address["b"], master=False)
    target = f"http://{environment.address['b']}:{HTTP_PORT}/hello"
    seconds = max(1, round(settings.seconds))
    with server(environment, "b", command, HTTP_PORT, "tcp"):
        wrk = ["wrk", "-t", "1", "-d", f"{seconds}s", *options, target]
        return parsing.wrk_per_second(run(environment, "a", wrk, seconds))


def node_http(environment: Environment, settings: Settings) -> float:
    """Requests per second of Node's http server, asked as nginx is."""
    address = environment.address["b"]
    script = f"require('http').createServer((q, a) => a.end('hello')).listen({HTTP_PORT}, '{address}', 511)"
    return _wrk(environment, settings, ["node", "-e", script])


def apache_http(environment: Environment, settings: Settings) -> float:
    """Requests per second of Apache httpd with its event module, asked as nginx is."""
    folder = Path(scratch().name) / "apache"
    (folder / "www").mkdir(parents=True, exist_ok=True)
    (folder / "www/hello").write_text("hello")
    text = APACHE.read_text().replace("@MODEL@", "event").replace("@FOLDER@", str(folder))
    config = folder / "apache.conf"
    config.write_text(text.replace("@AT@", f"{environment.address['b']}:{HTTP_PORT}") + ONE_PROCESS)
    command = ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", str(config)]
    return _wrk(environment, settings, command, signal.SIGTERM)  # which its children hear of as well


def _wrk(
    environment: Environment, settings: Settings, command: list[str], stop: signal.Signals = signal.SIGKILL
) -> float:
    target = f"http://{environment.address['b']}:{HTTP_PORT}/hello"
    seconds = max(1, round(settings.seconds))
    with server(environment, "b", command, HTTP_PORT, "tcp", stop):
        wrk = ["wrk", "-t", "1", "-d", f"{seconds}s", "-c", str(WRK_CONNECTIONS), target]
        return parsing.wrk_per_second(run(environment, "a", wrk, seconds))


def beside_hogs(environment: Environment, settings: Settings) -> Mapping[str, float]:
    """One connection beside programs that compute: 1,000 requests of 100 bytes a second, and as many as can be."""
    where = [environment.address["b"], str(CONNECT_PORT)]
    with server(environment, "b", [connect_program(), "echo", *where], CONNECT_PORT, "tcp"), hogs():
        words = [*where, f"{settings.seconds:g}"]
        said = run(environment, "a", [connect_program(), "paced", *words], settings.seconds + 1)
        done, p99 = parsing.paced(said)
        flat = parsing.per_second(
            run(environment, "a", [connect_program(), "flat", *words], settings.seconds)
        )
    return {"hogs_done": done, "hogs_p99": p99, "hogs_flat": flat / 1e3}


def connects(environment: Environment, settings: Settings) -> float:
    """Connections per second, one after the other, each used for a byte each way."""
    where = [environment.address["b"], str(CONNECT_PORT)]
    with server(environment, "b", [connect_program(), "serve", *where], CONNECT_PORT, "tcp"):
        command = [connect_program(), "loop", *where, f"{settings.seconds:g}"]
        return parsing.per_second(run(environment, "a", command, settings.seconds))


def decisions(environment: Environment, settings: Settings) -> Mapping[str, float]:
    """Microseconds of a program's first connect that does not become direct, of many programs the median."""

    def first(address: str) -> float:
        connect = f"{connect_program()} first {address} {PLAIN_PORT}"
        command = ["sh", "-c", f"for each in $(seq {FIRSTS}); do {connect} || exit; done"]
        return parsing.median_us(run(environment, "a", command, settings.seconds))

    return {"decide_none": first(NO_PARTITION), "decide_plain": first(environment.address["b"])}


def pgbench(environment: Environment, settings: Settings) -> float:
    """Transactions per second of pgbench's select-only script, prepared, with four clients in four threads."""
    address, seconds = environment.address["b"], max(1, round(settings.seconds))
    options = ["-S", "-n", "-M", "prepared", "-c", "4", "-j", "4", "-T", str(seconds)]
    with server(environment, "b", postgres().server(address), POSTGRES_PORT, "tcp", signal.SIGINT):
        text = run(environment, "a", postgres().pgbench(address, *options), seconds)
    return parsing.pgbench_per_second(text)


def _workload(
    name: str, title: str, unit: str, measure: Callable[[Environment, Settings], float], per: float = 1e3
) -> Workload:
    """One figure, in `unit`s of `per` a second."""

    def figures(environment: Environment, settings: Settings) -> Mapping[str, float]:
        return {name: measure(environment, settings) / per}

    return Workload(name, (Metric(name, title, unit, True),), figures)


def _redis(name: str, title: str, *options: str, held: int = 0) -> Workload:
    return _workload(
        name,
        f"redis-benchmark {title}",
        "thousand/s",
        lambda env, settings: redis_per_second(env, settings, *options, held=held),
    )


def _http(name: str, title: str, *options: str) -> Workload:
    return _workload(
        name, f"nginx, {title}", "thousand/s", lambda env, settings: http(env, settings, *options)
    )


REDIS_50 = _redis("redis_50", "-c 50", "-c", "50")
REDIS_1 = _redis("redis_1", "-c 1", "-c", "1")
REDIS_P16 = _redis("redis_p16", "-c 50 -P 16", "-c", "50", "-P", "16")
HTTP = _http("http", "keep-alive", "-c", str(WRK_CONNECTIONS))
HTTP_CLOSE = _http(
    "http_close", "a connection per request", "-c", str(CLOSING_CONNECTIONS), "-H", "Connection: close"
)
HTTP_NODE = _workload("http_node", "Node's http, keep-alive", "thousand/s", node_http)
HTTP_APACHE = _workload("http_apache", "Apache, keep-alive", "thousand/s", apache_http)
HOGS = Workload(
    "hogs",
    (
        Metric("hogs_done", "beside hogs: 1,000/s, answered", "part", True),
        Metric("hogs_p99", "beside hogs: 1,000/s, p99", "us", False),
        Metric("hogs_flat", "beside hogs: flat out", "thousand/s", True),
    ),
    beside_hogs,
)
CONNECTS = _workload("connects", "connect, accept, a byte", "thousand/s", connects)
DECISIONS = Workload(
    "decisions",
    (
        Metric("decide_none", "first connect, to no partition", "us", False),
        Metric("decide_plain", "first connect, to a server without the library", "us", False),
    ),
    decisions,
)
PGBENCH = _workload("pgbench", "pgbench select-only", "thousand/s", pgbench)

ALL = (
    *(w.TCP, w.TCP_PING_PONG, REDIS_50, REDIS_1, REDIS_P16),
    *(HTTP, HTTP_NODE, HTTP_APACHE, HTTP_CLOSE, CONNECTS, DECISIONS, PGBENCH, HOGS),
)


def redis_beside(held: Callable[[Environment], int]) -> Workload:
    """One busy connection to redis beside as many idle ones as the environment is to have."""
    return _workload(
        "busy",
        "redis-benchmark -c 1",
        "thousand/s",
        lambda env, settings: redis_per_second(env, settings, "-c", "1", held=held(env)),
    )


def check_programs(missing: list[str]) -> None:
    """One clear line instead of a failure of each measurement."""
    if not shutil.which("gcc"):
        missing = [*missing, "gcc"]
    if missing:
        raise ToolFailed(f"not installed: {', '.join(missing)}; scripts/setup-tests installs them")
