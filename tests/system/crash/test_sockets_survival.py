"""Direct sockets in a fabric whose daemons are killed: what is direct goes on, and what is new is TCP at the worst."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.harm import kill, stop_a_while
from tests.framework.programs import honest
from tests.framework.sockets.direct import LIBRARY, End, shown
from tests.framework.sockets.hostile import Asking
from tests.framework.waiting import wait_until

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY}: run scripts/setup")


@pytest.fixture
def talking(fabric: Fabric) -> Iterator[tuple[Fabric, Asking, int]]:
    """A client with a direct connection to a server in the other partition, and the server's port."""
    fabric.up()
    blue, green = (fabric.add(label, f"10.90.0.{n}/24") for n, label in enumerate("ab", 1))
    client, server = End(blue, True), End(green, True)
    program = [sys.executable, honest.__file__]
    with (
        server.running([*program, "wait", server.ip]) as serving,
        client.running([*program, "ask", server.ip]) as asking,
    ):
        assert serving.stdout
        port, ask = int(serving.stdout.readline()), Asking(asking)
        assert ask(f"open {port}") == "open"
        assert ask(f"kind {port}") == "direct"
        fabric.wait_path(blue, green, "direct")  # of frames: a plain connection needs no host either
        wait_until_told(fabric)
        yield fabric, ask, port


def wait_until_told(fabric: Fabric) -> None:
    wait_until(lambda: [each["state"] for each in shown(fabric)] == ["up"], 5, "the first is told of, alone")


def host(fabric: Fabric) -> list[int]:
    return [fabric.host_pid()]


def partitions(fabric: Fabric) -> list[int]:
    return sorted(fabric.pids() - {fabric.host_pid()})


def everything(fabric: Fabric) -> list[int]:
    return sorted(fabric.pids())


@pytest.mark.parametrize("who", [host, partitions, everything])
def test_daemons_killed(talking: tuple[Fabric, Asking, int], who: Callable[[Fabric], list[int]]) -> None:
    fabric, ask, port = talking
    for _ in range(2):
        (first,), pids = host(fabric), who(fabric)
        for pid in pids:
            kill(pid)
        assert ask("echo") == "True"
        if first in pids:
            fabric.up()
        wait_until(lambda: ask.attempt(port) == "hello", 20, "connections are made again")
        wait_until(lambda: ask(f"kind {port}") == "direct", 20, "new ones are direct again")
        assert ask("echo") == "True"
    wait_until_told(fabric)


def test_new_connections_without_a_host(talking: tuple[Fabric, Asking, int]) -> None:
    fabric, ask, port = talking
    kill(fabric.host_pid())
    assert wait_until(lambda: ask(f"kind {port}") == "plain", 10, "they are plain TCP, by the direct link")
    assert ask("echo") == "True"


def test_a_host_that_is_stopped(talking: tuple[Fabric, Asking, int]) -> None:
    """It answers nobody: connections are made all the same, and soon."""
    fabric, ask, port = talking
    pid = fabric.host_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert ask("echo") == "True"
        wait_until(lambda: ask(f"kind {port}") == "plain", 10, "they are plain TCP")
        assert ask.attempt(port) == "hello"
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: ask(f"kind {port}") == "direct", 10, "they are direct again")


def test_a_peer_that_is_stopped(talking: tuple[Fabric, Asking, int]) -> None:
    """As with TCP: what was sent waits, and goes on."""
    fabric, ask, _ = talking
    (server,) = [each["server"]["pids"][0] for each in shown(fabric)]
    stop_a_while(server)
    assert ask("echo") == "True"
