"""Direct sockets: `vnicctl sockets` tells of connections that are direct, and why another is not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.framework.fabric.fabric import Fabric
from tests.framework.programs import PROGRAMS
from tests.framework.sockets.direct import End, Ends, shown
from tests.framework.traffic.servers import REDIS_PORT, redis
from tests.framework.waiting import wait_for_output, wait_until


def test_a_connection_is_shown(ends: Ends, tmp_path: Path) -> None:
    """Both its ends, while it is there; otherwise the reason, if the program that connects has the preload library."""
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
            assert {each["why"] for each in recent} == {"no_library"}
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


SERVES = """
import signal, socket
listener = socket.create_server(("", 9))
signal.pause()
"""


def whys(fabric: Fabric, program: End, *words: str, ip: str, dead: bool = False) -> list[str]:
    """The reasons that are shown for the connections of a program that tries one for each word.

    A hosting daemon that is dead meanwhile is started anew.
    """
    with program.running(["python3", str(PROGRAMS / "connected/tries.py"), ip, *words]) as process:
        assert process.stdout
        wait_for_output(process.stdout, b"connected", 20)
        if dead:
            fabric.up()
        told = fabric.json("sockets")["processes"]
        return [each["why"] for row in told if row["pid"] == process.pid for each in row["recent"]]


def test_the_reason_is_the_real_one(fabric: Fabric) -> None:
    fabric.up()
    blue, green = (fabric.add(name, f"10.77.0.{n}/24") for n, name in enumerate(("blue", "green"), 1))
    one = End(blue, True)
    with End(green, True).serving(["python3", "-c", SERVES], 9):
        assert whys(fabric, one, "plain", ip=green.ip) == ["option"]
        assert whys(fabric, one, "any", ip="10.99.0.1") == ["not_a_partition"]
    os.kill(fabric.host_pid(), signal.SIGKILL)
    assert set(whys(fabric, one, "any", "any", ip=green.ip, dead=True)) == {"no_broker"}
