"""Containerd in a machine of its own, its ctr, and its pods as a kubelet asks for them (CRI)."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tests.framework.containers.images import Image, busybox
from tests.framework.containers.machine import RuntimeMachine
from tests.framework.waiting import wait_until

START_TIMEOUT = 30
SERVICE = "http://localhost/runtime.v1.RuntimeService"

CONFIGURATION = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
"""

Value: TypeAlias = "int | str | Message | list[Value]"
Message: TypeAlias = dict[int, Value]
"""A message of protobuf: values by the number of their field."""


class Containerd:
    """`start` starts it; it ends with its machine. Networks are the first in /etc/cni/net.d."""

    def __init__(self, machine: RuntimeMachine) -> None:
        self.machine = machine
        self.folder = machine.folder / "containerd"
        self.socket = f"{self.folder}/containerd.sock"

    def start(self) -> Containerd:
        image = busybox()
        configuration = CONFIGURATION.format(folder=self.folder, image=image.name)
        self.machine.write(f"{self.folder}/config.toml", configuration)
        self.machine.popen(["containerd", f"--config={self.folder}/config.toml"], stderr=subprocess.DEVNULL)
        wait_until(self.machine.path(self.socket).exists, START_TIMEOUT, "containerd listens")
        self.ctr("--namespace=k8s.io", "images", "import", str(image.archive))
        wait_until(self._has_network, START_TIMEOUT, "containerd has a network")
        return self

    def ctr(self, *argv: str) -> str:
        return self.machine.run(["ctr", f"--address={self.socket}", *argv]).stdout

    def _has_network(self) -> bool:
        conditions = field(self.call("Status", {}), 1, 1)
        return all(field(each, 2) == [1] for each in conditions)

    def call(self, method: str, request: Message) -> bytes:
        """The answer to a request of the CRI; AssertionError with what containerd says when it fails.

        The transport is gRPC: HTTP/2, with the message behind its length, and the error in a trailer.
        """
        message = encoded(request)
        argv = ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--unix-socket", self.socket]
        argv += ["--header", "content-type: application/grpc", "--header", "te: trailers", "--max-time", "60"]
        argv += ["--data-binary", "@-", "--dump-header", "/dev/stderr", f"{SERVICE}/{method}"]
        done = subprocess.run(
            self.machine.inside(argv),
            check=False,
            capture_output=True,
            input=struct.pack(">BI", 0, len(message)) + message,
            timeout=90,
        )
        assert re.search(rb"(?mi)^grpc-status: 0\r?$", done.stderr), done.stderr.decode()
        return done.stdout[5:]


@dataclass(frozen=True)
class Pod:
    """A pod that runs, and a container of it that sleeps."""

    containerd: Containerd
    id: str
    container: str

    @classmethod
    def start(
        cls,
        containerd: Containerd,
        name: str,
        image: Image,
        ports: tuple[tuple[int, int], ...] = (),
        annotations: dict[str, str] | None = None,
    ) -> Pod:
        """`ports` are pairs of one of the machine and one of the pod."""
        pod: Message = {
            1: {1: name, 2: f"uid-{name}", 3: "default"},
            2: name,
            5: [{1: 0, 2: inside, 3: outside} for outside, inside in ports],
            7: [{1: key, 2: value} for key, value in (annotations or {}).items()],
            8: {1: containerd.machine.cgroup},
        }
        identifier = text(containerd.call("RunPodSandbox", {1: pod}), 1)
        container: Message = {1: {1: "main"}, 2: {1: image.name}, 3: ["sleep", "infinity"]}
        made = text(containerd.call("CreateContainer", {1: identifier, 2: container, 3: pod}), 1)
        containerd.call("StartContainer", {1: made})
        return cls(containerd, identifier, made)

    @property
    def address(self) -> str:
        (network,) = field(self.containerd.call("PodSandboxStatus", {1: self.id}), 1, 5)
        return text(network, 1)

    def exec(self, *argv: str) -> str:
        """What a command printed that ran in its container."""
        return text(self.containerd.call("ExecSync", {1: self.container, 2: [*argv], 3: 20}), 1)

    def remove(self) -> None:
        self.containerd.call("StopPodSandbox", {1: self.id})
        self.containerd.call("RemovePodSandbox", {1: self.id})


def encoded(message: Message) -> bytes:
    return b"".join(_field(number, value) for number, value in message.items())


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, list):
        return b"".join(_field(number, each) for each in value)
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else encoded(value)
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def field(message: bytes | int, *path: int) -> list[bytes | int]:
    """All values of a field, or of one within a field of that number."""
    assert isinstance(message, bytes)
    found = [value for number, value in _values(message) if number == path[0]]
    return [each for value in found for each in field(value, *path[1:])] if path[1:] else found


def text(message: bytes | int, number: int) -> str:
    """The one value of a field; empty if it is not there, as protobuf leaves empty ones out."""
    found = b"".join(value for value in field(message, number) if isinstance(value, bytes))
    return found.decode()


def _values(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(message):
        key = varint()
        value = varint()
        if key & 7 == 0:
            yield key >> 3, value
        else:
            assert key & 7 == 2, "the runtime interface has no other types"
            yield key >> 3, message[at : at + value]
            at += value
