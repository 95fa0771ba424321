"""Direct sockets: redis with its own clients, replication, and what happens when one side is killed."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.framework.fabric.partition import Argv
from tests.framework.sockets.direct import End, Ends
from tests.framework.traffic.servers import REDIS_PORT, redis
from tests.framework.waiting import wait_for_output, wait_until

pytestmark = pytest.mark.tools

SIZE = 20 << 20


def at(server: End, *words: str) -> Argv:
    """The command line of redis-cli for this server."""
    return ["redis-cli", "-h", server.ip, "-p", str(REDIS_PORT), *words]


def ask(client: End, server: End, *words: str) -> str:
    return client.run(at(server, *words)).stdout.strip()


def info(end: End, key: str) -> str:
    """One value of a server's INFO, asked for in its own partition."""
    lines = ask(end, end, "INFO").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:")), "")


@contextmanager
def serving(end: End, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A redis-server with no data; a replica gets them if the options say of whom."""
    with TemporaryDirectory(prefix="vnicd-") as folder:
        argv = redis(
            Path(folder), end.ip, "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0", *options
        )
        with end.serving(argv, REDIS_PORT) as process:
            yield process


@pytest.mark.parametrize(
    "options",
    [
        ("-n", "3000", "-c", "1"),
        ("-n", "20000", "-c", "50"),
        ("-n", "50000", "-c", "50", "-P", "16"),
        ("-n", "20000", "--threads", "2"),
    ],
)
def test_benchmark(ends: Ends, options: tuple[str, ...]) -> None:
    with serving(ends.server), ends.watch():
        where = ["-h", ends.server.ip, "-p", str(REDIS_PORT), "--csv", *options]
        said = ends.client.run(["redis-benchmark", *where, "-t", "set,get,incr,lpush,mset"]).stdout
    rates = [line.split(",")[1].strip('"') for line in said.splitlines()[1:]]
    assert len(rates) == 5
    assert all(float(rate) > 0 for rate in rates)


def test_values_arrive_as_they_were(ends: Ends) -> None:
    value = random.Random(1).randbytes(SIZE)
    with serving(ends.server), ends.watch():
        assert ends.client.feed(at(ends.server, "-x", "SET", "large"), value) == b"OK\n"
        got = ends.client.feed(at(ends.server, "--raw", "GET", "large"), b"")
    assert hashlib.sha256(got[:-1]).digest() == hashlib.sha256(value).digest()


def test_pipeline(ends: Ends) -> None:
    count = 200_000
    commands = b"".join(b"SET key:%d %d\r\n" % (number, number * 7) for number in range(count))
    with serving(ends.server), ends.watch():
        said = ends.client.feed(at(ends.server, "--pipe"), commands).decode()
        assert f"errors: 0, replies: {count}" in said
        assert ask(ends.client, ends.server, "DBSIZE") == str(count)
        assert ask(ends.client, ends.server, "GET", "key:123456") == str(123456 * 7)


def test_publish_and_subscribe(ends: Ends) -> None:
    count = 5000
    with (
        serving(ends.server),
        ends.watch(),
        ends.client.running(at(ends.server, "SUBSCRIBE", "news")) as subscriber,
    ):
        assert subscriber.stdout
        wait_until(
            lambda: ask(ends.server, ends.server, "PUBSUB", "NUMSUB", "news").endswith("1"), 10, "subscribed"
        )
        commands = b"".join(b"PUBLISH news item-%d\r\n" % number for number in range(count))
        assert b"errors: 0" in ends.client.feed(at(ends.server, "--pipe"), commands)
        seen = wait_for_output(subscriber.stdout, b"item-%d\n" % (count - 1), 20)
    items = [line for line in seen.split(b"\n") if line.startswith(b"item-")]
    assert items == [b"item-%d" % number for number in range(count)]


def test_monitor(ends: Ends) -> None:
    with serving(ends.server), ends.watch(), ends.client.running(at(ends.server, "MONITOR")) as monitor:
        assert monitor.stdout
        wait_for_output(monitor.stdout, b"OK", 10)
        for number in range(20):
            ask(ends.client, ends.server, "SET", f"watched-{number}", "1")
        seen = wait_for_output(monitor.stdout, b"watched-19", 10)
    assert all(b"watched-%d" % number in seen for number in range(20))


def same_data(one: End, other: End) -> bool:
    return ask(one, one, "DEBUG", "DIGEST") == ask(other, other, "DEBUG", "DIGEST")


def write(end: End, prefix: str, count: int = 20_000) -> None:
    commands = "".join(f"SET {prefix}:{number} {number}-{'x' * 100}\r\n" for number in range(count))
    assert b"errors: 0" in end.feed(at(end, "--pipe"), commands.encode())


def test_replication(ends: Ends) -> None:
    """The replica is the client; each side is killed and started again, and the other goes on meanwhile."""
    master, replica = ends.server, ends.client
    follow = ("--replicaof", f"{master.ip} {REDIS_PORT}")
    with ends.watch() as watch, serving(master) as first:
        write(master, "before")
        with serving(replica, *follow) as process:
            wait_until(lambda: info(replica, "master_link_status") == "up", 20, "the replica is in step")
            watch.until(lambda now: now > 0, "the replica's connection is direct")
            write(master, "while")
            wait_until(lambda: same_data(master, replica), 20, "the replica has all")
            process.kill()
            wait_until(lambda: info(master, "connected_slaves") == "0", 10, "the replica is missed")
            write(master, "without")
        with serving(replica, *follow):
            wait_until(lambda: info(replica, "master_link_status") == "up", 20, "the new replica is in step")
            wait_until(lambda: same_data(master, replica), 20, "the new replica has all")
            first.kill()
            wait_until(lambda: info(replica, "master_link_status") == "down", 10, "the master is missed")
            assert ask(replica, replica, "GET", "without:7").startswith("7-")
            with serving(master):
                write(master, "again")
                up = "the replica follows the new master"
                wait_until(lambda: info(replica, "master_link_status") == "up", 30, up)
                wait_until(lambda: same_data(master, replica), 20, "the replica has all of the new master's")


def endless(ends: Ends) -> Argv:
    where = ["-h", ends.server.ip, "-p", str(REDIS_PORT), "-c", "20", "-t", "set"]
    return ["redis-benchmark", *where, "-n", "1000000000", "-q"]


def test_a_client_is_killed(ends: Ends) -> None:
    with serving(ends.server), ends.watch() as watch:
        with ends.client.running(endless(ends)) as client:
            wait_until(lambda: int(info(ends.server, "connected_clients")) > 20, 10, "the clients are there")
            watch.until(lambda now: now > 0, "they are direct")
            client.kill()
            alone = "the server has noticed that they are gone"
            wait_until(lambda: info(ends.server, "connected_clients") == "1", 10, alone)
        assert ask(ends.client, ends.server, "PING") == "PONG"


def test_the_server_is_killed(ends: Ends) -> None:
    """Busy and idle clients notice at once, and an idle one connects again by itself."""
    with ends.client.running(at(ends.server)) as idle:
        assert idle.stdin and idle.stdout
        with (
            serving(ends.server) as server,
            ends.watch() as watch,
            ends.client.running(endless(ends)) as busy,
        ):
            idle.stdin.write(b"PING\n")
            wait_for_output(idle.stdout, b"PONG", 10)
            wait_until(lambda: int(info(ends.server, "connected_clients")) > 20, 10, "the clients are there")
            watch.until(lambda now: now > 0, "they are direct")
            server.kill()
            assert busy.wait(10) != 0
        idle.stdin.write(b"PING\n")
        wait_for_output(idle.stdout, b"\n", 10)
        with serving(ends.server):
            idle.stdin.write(b"ECHO again\n")
            wait_for_output(idle.stdout, b"again", 10)
