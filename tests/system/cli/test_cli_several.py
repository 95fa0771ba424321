"""Partitions of a running fabric are restarted, waited for and removed, several at once; their logs are read."""

from __future__ import annotations

import os
import signal

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import named
from tests.framework.traffic.streams import connect, exchange, receive_exactly


@pytest.mark.parametrize("stopped", [False, True])
def test_a_restart_keeps_interface_and_connections(shared: Fabric, stopped: bool) -> None:
    """Also one of a daemon that does not move any more."""
    one, other = (shared.add(f"re{n}", f"10.87.{int(stopped)}.{n}/24") for n in (1, 2))
    connection = connect(one, other, other.ip)
    connection[0].sendall(b"before")
    network = one.run(["ip", "addr"]).stdout
    before = [partition.pid for partition in (one, other)]
    if stopped:
        os.kill(before[0], signal.SIGSTOP)
    shared.cli("partition", "restart", one.name, other.name)
    assert not {one.pid, other.pid} & set(before)
    assert [each.info["state"] for each in (one, other)] == ["up", "up"]
    assert one.run(["ip", "addr"]).stdout == network
    assert receive_exactly(connection[1], 6) == b"before"
    exchange(*connection, 1 << 16)
    assert shared.cli("partition", "wait", one.name, other.name).stdout == ""
    assert f"partition {one.name} is started again" in shared.cli("logs").stdout
    waiting = shared.popen_cli("partition", "wait", one.name, other.name, "--until", "removed")
    assert shared.cli("partition", "rm", one.name, shared.name("nobody"), check=False).returncode == 5
    assert one.name in named()
    shared.cli("partition", "rm", one.name, other.name)
    assert waiting.wait(30) == 0
    assert not {one.name, other.name} & named()
