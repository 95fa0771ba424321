"""A namespace whose NIC is one end of a veth, for tests of the kernel's side of the uplink without any daemon."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

from tests.framework.datapath.peer import VNET, mac_bytes
from tests.framework.fabric.namespaces import NETNS, in_namespace, socket_in
from tests.framework.waiting import wait_until
from vnicd.kernel import packet_socket

T = TypeVar("T")

NIC, NIC_MAC = "nic", "02:aa:00:00:00:01"
REMOTE, REMOTE_MAC = "wire", "02:aa:00:00:00:02"
BLUE, GREEN, STRANGER = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:99"
BROADCAST = "ff:ff:ff:ff:ff:ff"
ETH_P_ALL = 3

_numbers = count()


def ip(*argv: str) -> str:
    return subprocess.run(["ip", *argv], check=True, capture_output=True, text=True).stdout


class Wire:
    """The namespace `here` with the interface NIC, and the namespace `remote` with the other end, REMOTE."""

    def __init__(self, tag: str) -> None:
        number = next(_numbers)
        self.here, self.remote = f"{tag}-here{number}", f"{tag}-remote{number}"
        for name in (self.here, self.remote):
            ip("netns", "add", name)
            self.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", where=name)
            ip("-n", name, "link", "set", "lo", "up")
        self.plug()

    def plug(self) -> None:
        """Make the NIC and its cable."""
        near = ["-n", self.here, "link", "add", NIC, "address", NIC_MAC, "type", "veth"]
        ip(*near, "peer", "name", REMOTE, "address", REMOTE_MAC, "netns", self.remote)
        ip("-n", self.here, "link", "set", NIC, "up")
        ip("-n", self.remote, "link", "set", REMOTE, "up")

    def close(self) -> None:
        for name in (self.here, self.remote):
            ip("netns", "del", name)

    def address(self) -> None:
        """Addresses at both ends: .1 is remote, .2 is here."""
        for name, device, number in ((self.remote, REMOTE, 1), (self.here, NIC, 2)):
            ip("-n", name, "addr", "add", f"10.0.0.{number}/24", "dev", device)
            ip("-n", name, "addr", "add", f"fd00::{number}/64", "dev", device, "nodad")

    def inside(self, work: Callable[[], T]) -> T:
        """What `work` returns when it is called here."""
        return in_namespace(str(NETNS / self.here), work)

    def run(self, *argv: str, where: str = "", check: bool = True) -> str:
        line = ["nsenter", f"--net={NETNS / (where or self.here)}", *argv]
        return subprocess.run(line, check=check, capture_output=True, text=True).stdout

    def show(self, *argv: str) -> list[dict[str, Any]]:
        """What `ip -j ARGV` tells of here."""
        found: list[dict[str, Any]] = json.loads(ip("-n", self.here, "-d", "-j", *argv) or "[]")
        return found

    def listen(self, device: str = REMOTE) -> socket.socket:
        """A packet socket at the remote end."""
        sock = socket_in(str(NETNS / self.remote), socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind((device, ETH_P_ALL))
        sock.settimeout(5)
        return sock


def ethernet(to: str, source: str, kind: int, payload: bytes) -> bytes:
    return mac_bytes(to) + mac_bytes(source) + kind.to_bytes(2, "big") + payload.ljust(64, b"\0")


class RxQueues:
    """The rx queues of a wire's NIC, read as frames."""

    def __init__(self, wire: Wire, code: bytes, queues: int = 4) -> None:
        self.fds = wire.inside(lambda: packet_socket.open_rx_queues(NIC, queues, code))

    def read(self, queue: int) -> bytes | None:
        """The next frame, None while there is none. What the remote kernel says for itself is passed over."""
        while True:
            try:
                data = os.read(self.fds[queue], 1 << 17)
            except BlockingIOError:
                return None
            assert data[: len(VNET)] == VNET, "there is nothing in a plain frame's vnet header"
            data = data[len(VNET) :]
            if data[6:12] != mac_bytes(REMOTE_MAC):
                return data

    def wait(self, queue: int) -> bytes:
        return wait_until(lambda: self.read(queue), 5, f"a frame in rx queue {queue}")

    def waiting(self) -> list[int]:
        """The rx queues of all frames that are there; they are read."""
        found = []
        for queue in range(len(self.fds)):
            while self.read(queue):
                found.append(queue)
        return found

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
