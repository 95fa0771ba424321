"""What a running fabric tells systemd, read from a socket that stands for systemd's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.framework.fabric.apply import apply
from tests.framework.fabric.fabric import Fabric
from tests.framework.systemd.notifysocket import NotifySocket
from tests.framework.waiting import wait_until

PAIR = "[partitions.@web]\n[partitions.@db]\n"


@pytest.fixture
def systemd(fabric: Fabric) -> Iterator[NotifySocket]:
    """It hears the fabric that it has started."""
    with NotifySocket(fabric.runtime.with_name(f"notify{fabric.tag}")) as systemd:
        fabric.env |= systemd.environment
        fabric.up()
        yield systemd


def test_an_apply_is_a_reload(fabric: Fabric, systemd: NotifySocket) -> None:
    assert systemd.said() == [{"READY": "1", "STATUS": "0 of 0 partitions up"}]
    apply(fabric, PAIR)
    begin, *meanwhile, end = systemd.said()
    assert (begin["RELOADING"], begin["MONOTONIC_USEC"].isdigit(), meanwhile) == ("1", True, [])
    assert end == {"READY": "1", "STATUS": "2 of 2 partitions up"}


def test_an_apply_that_changes_nothing(fabric: Fabric, systemd: NotifySocket) -> None:
    systemd.said()
    apply(fabric, PAIR, "--dry-run")
    apply(fabric, "[partitions.@web]\nmtu = 1\n", check=False)
    assert systemd.said() == []


def test_the_status_follows_each_change(fabric: Fabric, systemd: NotifySocket) -> None:
    def last() -> str:
        nonlocal seen
        seen = [*seen, *systemd.said()]
        return seen[-1].get("STATUS", "")

    seen: list[dict[str, str]] = []
    blue = fabric.add("blue")
    assert last() == "1 of 1 partitions up"
    os.kill(blue.pid, signal.SIGKILL)
    wait_until(lambda: last() == "1 of 1 partitions up" and len(seen) > 3, 10, "blue is back")
    assert "0 of 1 partitions up" in [message["STATUS"] for message in seen]
    fabric.cli("partition", "remove", blue.name)
    assert last() == "0 of 0 partitions up"
    fabric.down()
    assert systemd.said()[-1] == {"STOPPING": "1", "STATUS": "stopping"}
