"""Direct sockets: `vnicctl sockets` tells of connections that are direct, and why another is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.direct import Ends, shown
from tests.support.servers import REDIS_PORT, redis
from tests.support.waiting import wait_for_output, wait_until


def test_a_connection_is_shown(ends: Ends, tmp_path: Path) -> None:
    """Both its ends, while it is there; otherwise the reason, if the program that connects has the provider."""
    ask = ["redis-cli", "-h", ends.server.ip, "-p", str(REDIS_PORT)]
    with (
        ends.server.serving(redis(tmp_path, ends.server.ip), REDIS_PORT) as server,
        ends.client.running(ask) as client,
    ):
        assert client.stdin and client.stdout
        client.stdin.write(b"PING\n")
        wait_for_output(client.stdout, b"PONG", 10)
        told = ends.fabric.json("sockets")
        if ends.direct:
            check_connection(ends, told["connections"], client.pid, server.pid)
        else:
            assert told["connections"] == []
        if ends.client.direct and not ends.server.direct:
            recent = next(each for each in told["processes"] if each["pid"] == client.pid)["recent"]
            assert {each["why"] for each in recent} == {"no_provider"}
            assert recent[0]["target"] == f"{ends.server.ip}:{REDIS_PORT}"
        client.kill()
        client.wait()
        wait_until(lambda: not shown(ends.fabric), 5, "the connection is shown no more")


def check_connection(ends: Ends, connections: list[dict[str, Any]], client: int, server: int) -> None:
    assert len(connections) == 1
    assert connections[0]["state"] == "up"
    near, far = connections[0]["client"], connections[0]["server"]
    assert (near["program"], near["pids"], near["partition"]) == (
        "redis-cli",
        [client],
        ends.client.partition.name,
    )
    assert (far["program"], far["pids"], far["partition"]) == (
        "redis-server",
        [server],
        ends.server.partition.name,
    )
    assert (near["address"], far["address"], far["port"]) == (ends.client.ip, ends.server.ip, REDIS_PORT)
    assert near["sent"] > 10
    assert far["sent"] > 5
