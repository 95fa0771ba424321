"""The crash matrix, what doctor says: it names what is wrong with a fabric while it is wrong, and not afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.load import Load
from tests.framework.waiting import wait_until

Pair = tuple[Partition, Partition]

SEEN_WITHIN = 4.0


@pytest.fixture(scope="module")
def ends(shared: Fabric) -> Pair:
    return shared.add("a", "10.93.0.1/24"), shared.add("b", "10.93.0.2/24")


def complaints(fabric: Fabric) -> str:
    return "\n".join(
        f"{check['name']}: {check['detail']}" for check in fabric.doctor() if check["status"] != "ok"
    )


@contextmanager
def stopped_host(fabric: Fabric, ends: Pair) -> Iterator[str]:
    pid = fabric.host_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield str(pid)
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def dead_host(fabric: Fabric, ends: Pair) -> Iterator[str]:
    pid = fabric.host_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in fabric.pids(), 5, "the host is gone")
    try:
        yield "the hosting daemon is dead"
    finally:
        fabric.up()


@contextmanager
def stopped_partition(fabric: Fabric, ends: Pair) -> Iterator[str]:
    """Records wait for it and it takes none."""
    pid = ends[1].pid
    with Load(*ends, "udp"):
        os.kill(pid, signal.SIGSTOP)
        try:
            yield ends[1].name
        finally:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def interface_down(fabric: Fabric, ends: Pair) -> Iterator[str]:
    link = ["ip", "link", "set", ends[1].ifname]
    ends[1].run([*link, "down"])
    try:
        yield ends[1].name
    finally:
        ends[1].run([*link, "up"])


@contextmanager
def interface_of_another(fabric: Fabric, ends: Pair) -> Iterator[str]:
    """The interface is deleted and something else has its name, so it can't be made anew."""
    victim = ends[1]
    victim.run(["ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1"])
    name = victim.ifname  # it is soon made anew, and then the other one comes too late
    victim.run(["sh", "-c", f"until ip link set other0 name {name}; do ip link del {name}; done 2>/dev/null"])
    try:
        wait_until(lambda: victim.info["state"] == "failed", SEEN_WITHIN, "it can't be brought back")
        yield victim.name
    finally:
        victim.run(["ip", "link", "del", victim.ifname])
        wait_until(lambda: victim.info["state"] == "up", 15, "it is back")


@pytest.mark.parametrize(
    "harm", [stopped_host, dead_host, stopped_partition, interface_down, interface_of_another]
)
def test_it_is_named(shared: Fabric, ends: Pair, harm: Callable[..., object]) -> None:
    with harm(shared, ends) as word:  # type: ignore[attr-defined]
        wait_until(lambda: word in complaints(shared), SEEN_WITHIN, f"doctor says something of {word}")
    wait_until(lambda: word not in complaints(shared), SEEN_WITHIN, f"doctor is content with {word}")
