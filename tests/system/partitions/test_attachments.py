"""A partition in a namespace of somebody else knows it for certain, does not keep it alive, and ends with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.namespaces import in_namespace, namespace_of
from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until
from vnicd.errors import Invalid
from vnicd.protocol import control
from vnicd.sockets import abi

GONE_WITHIN = 10.0
"""Seconds; it takes a quarter of one, and the rest is for a loaded machine."""


class Container:
    """A process in a namespace of its own, or in that at a path."""

    def __init__(self, fabric: Fabric, path: str = "") -> None:
        words = ["nsenter", f"--net={path}"] if path else ["unshare", "--net"]
        self.process = fabric.popen(
            [*words, "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE
        )
        assert self.process.stdout
        assert self.process.stdout.read(5) == b"ready"
        self.path = f"/proc/{self.process.pid}/ns/net"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def names(fabric: Fabric) -> set[str]:
    return {each["name"] for each in fabric.call("partition.list")["partitions"]}


def wait_for_its_end(fabric: Fabric, box: Partition) -> None:
    wait_until(lambda: box.name not in names(fabric), GONE_WITHIN, f"{box.name} has ended")


def interfaces(path: str) -> set[str]:
    return set(in_namespace(path, lambda: {word.split(":")[0].strip() for word in _table()}))


def _table() -> list[str]:
    return Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]


def test_it_ends_with_its_last_process_and_can_come_again(shared: Fabric) -> None:
    """Name and address are free at once; the peer, which has a direct link, hears of it."""
    peer = shared.add("watcher", "10.92.0.1/24")
    log = shared.runtime / "log" / "host.log"
    before = len(log.read_text())
    for _ in range(2):
        container = Container(shared)
        box = shared.add("box", "10.92.0.2/24", netns=container.path)
        assert peer.ping(box.ip, count=5).lost == 0
        shared.wait_path(peer, box, "direct")
        assert box.info["netns_inode"] == namespace_of(container.process.pid)
        container.end()
        wait_for_its_end(shared, box)
        assert peer.ping(box.ip, "-W", "0.3", count=1).received == 0
    said = [line.split(" ", 1)[1] for line in log.read_text()[before:].splitlines() if box.name in line]
    assert f"notice partition {box.name} ends: its namespace {container.path} is gone" in said
    assert not [line for line in said if line.startswith(("warning", "error")) or "started again" in line]


def test_it_ends_with_its_last_name(shared: Fabric) -> None:
    """A namespace of `ip netns add` has no process."""
    name = shared.namespace("named")
    box = shared.add("box", "10.92.1.2/24", netns=name)
    subprocess.run(["ip", "netns", "del", name], check=True)
    wait_for_its_end(shared, box)


def test_the_machines_own_namespace_is_refused(shared: Fabric) -> None:
    """Its default route would lead into the fabric, and go with the partition."""
    with pytest.raises(Invalid, match="the machine's own namespace"):
        shared.call("partition.add", name="inside", netns="/proc/self/ns/net", ifname="eth9")


def test_a_removal_right_behind_an_addition_does_not_pass_it(shared: Fabric) -> None:
    """Whose runtime was killed in an addition asks for the removal, and takes no error for the end of both."""
    container, owner = Container(shared), {"app": "shop"}
    name = f"quick-{shared.tag}"
    requests = [
        ("partition.add", {"name": name, "netns": container.path, "owner": owner}),
        ("partition.remove", {"name": name, "owner": owner}),
    ]
    sockets = [socket.socket(socket.AF_UNIX) for _ in requests]
    try:
        for sock in sockets:
            sock.connect(str(shared.runtime / "control.sock"))
        for sock, (method, params) in zip(sockets, requests, strict=True):
            sock.sendall(control.request(1, method, params))
        added, removed = (json.loads(sock.makefile().readline()) for sock in sockets)
    finally:
        for sock in sockets:
            sock.close()
    assert added["result"]["name"] == name
    assert removed["error"]["code"] == "busy"
    shared.call("partition.remove", name=name, owner=owner)
    container.end()


def test_another_namespace_under_its_path_gets_nothing(shared: Fabric) -> None:
    """While the right one lives by a process, the interface comes back there. When it ends, so does the partition."""
    name = shared.namespace("path")
    peer = shared.add("path-peer", "10.92.2.1/24")
    container = Container(shared, f"/run/netns/{name}")
    box = shared.add("box", "10.92.2.2/24", netns=name)
    subprocess.run(["ip", "netns", "del", name], check=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    old = box.pid
    in_namespace(container.path, lambda: subprocess.run(["ip", "link", "del", box.ifname], check=True))
    box.wait_revived(old)
    wait_until(lambda: peer.ping(box.ip, "-W", "0.3", count=1).received, 10, "it answers again")
    assert box.ifname in interfaces(container.path)
    assert f"inet {box.ip}/" in shared.cli("exec", box.name, "--", "ip", "-4", "addr").stdout
    container.end()
    wait_for_its_end(shared, box)
    assert interfaces(f"/run/netns/{name}") == {"lo"}


def test_it_ended_while_there_was_no_host(fabric: Fabric) -> None:
    """All of it is dead when the next hosting daemon comes, and its path leads to a stranger."""
    fabric.up()
    name = fabric.namespace("stranger")
    box = fabric.add("box", "10.92.3.2/24", netns=name)
    host, daemon = fabric.host_pid(), box.pid
    os.kill(host, signal.SIGKILL)
    os.kill(daemon, signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], check=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    wait_until(lambda: not fabric.pids(), 10, "both daemons are dead")
    fabric.up()
    assert names(fabric) == set()
    assert interfaces(f"/run/netns/{name}") == {"lo"}
    fabric.add("box", "10.92.3.2/24", netns=name)


def test_its_interface_comes_back_when_all_daemons_have_died(fabric: Fabric) -> None:
    """The next hosting daemon has no TAP of it in hand, and makes one that does not hold the namespace either."""
    fabric.up()
    container = Container(fabric)
    peer, box = fabric.add("peer", "10.92.4.1/24"), fabric.add("box", "10.92.4.2/24", netns=container.path)
    fabric.kill_all()
    fabric.up()
    wait_until(lambda: peer.ping(box.ip, "-W", "0.3", count=1).received, 10, "it answers again")
    container.end()
    wait_for_its_end(fabric, box)


@contextmanager
def held(path: str) -> Iterator[str]:
    """A path to a namespace that lasts by a descriptor of ours."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield f"/proc/{os.getpid()}/fd/{fd}"
    finally:
        os.close(fd)


def has_broker(path: str) -> bool:
    table = in_namespace(path, lambda: Path("/proc/thread-self/net/unix").read_text())
    return f"@{abi.BROKER_NAME}\n" in table


@pytest.mark.parametrize("witness", ["daemon runs", "daemon is stopped"])
def test_nothing_of_ours_keeps_it_alive(fabric: Fabric, witness: str) -> None:
    """With a descriptor of somebody else alone it goes on without direct sockets, until a process is there again."""
    fabric.up()
    container = Container(fabric)
    box = fabric.add("box", "10.92.5.2/24", netns=container.path)
    with held(container.path) as path:
        wait_until(lambda: has_broker(path), 10, "the broker is there")
        container.end()
        wait_until(lambda: not has_broker(path), 10, "the broker has left")
        assert names(fabric) == {box.name}
        again = Container(fabric, path)
        wait_until(lambda: has_broker(path), 10, "the broker is there again")
        if witness == "daemon is stopped":
            os.kill(box.pid, signal.SIGSTOP)
        again.end()
    wait_for_its_end(fabric, box)
