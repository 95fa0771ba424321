"""Docker in a machine of its own, with its own containerd, and vnicd's driver beside it."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.framework.containers.images import Image
from tests.framework.containers.machine import RuntimeMachine
from tests.framework.fabric.fabric import VNICCTL
from tests.framework.fabric.partition import Argv
from tests.framework.waiting import wait_until

VNICD = VNICCTL.with_name("vnicd")
CLI = "/usr/bin/docker"
"""That of Debian's package, which suits its daemon: a newer one may be before it in PATH."""

PLUGINS = Path("/run/docker")
START_TIMEOUT = 60

CONTAINERD = """\
version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{folder}/containerd.sock"
"""


class Docker:
    """`start` starts all three daemons; each can be killed and started by itself."""

    def __init__(self, machine: RuntimeMachine) -> None:
        self.machine = machine
        self.folder = machine.folder
        self.host = f"unix://{self.folder}/docker.sock"
        self.env = {**machine.fabric.env, "DOCKER_HOST": self.host}
        self.daemon: subprocess.Popen[bytes] | None = None
        self.driver: subprocess.Popen[bytes] | None = None
        self._loaded: set[str] = set()

    def start(self) -> Docker:
        # Docker and its drivers meet in /run, which is this machine's.
        PLUGINS.mkdir(exist_ok=True)
        self.machine.run(["mount", "-t", "tmpfs", "docker", str(PLUGINS)])
        self.start_driver()
        self.machine.write(f"{self.folder}/containerd.toml", CONTAINERD.format(folder=self.folder))
        self._spawn("containerd", "--config", f"{self.folder}/containerd.toml")
        self._wait_for(f"{self.folder}/containerd.sock")
        self.machine.on_close(self._remove_all)
        return self.start_daemon()

    def start_driver(self) -> None:
        self.driver = self._spawn(str(VNICD), "docker")
        self._wait_for("/run/docker/plugins/vnicd.sock")

    def start_daemon(self) -> Docker:
        self.daemon = self._spawn(
            *("dockerd", "--iptables=false", "--bridge=none", "--exec-opt", "native.cgroupdriver=cgroupfs"),
            *("--cgroup-parent", self.machine.cgroup, "--containerd", f"{self.folder}/containerd.sock"),
            *("--host", self.host, "--pidfile", f"{self.folder}/docker.pid"),
            *("--exec-root", f"{self.folder}/docker", "--data-root", "/var/lib/docker"),
        )
        wait_until(lambda: not self.cli("version", check=False).returncode, START_TIMEOUT, "Docker answers")
        return self

    def cli(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """The finished docker; AssertionError with its output when it failed and `check` is set."""
        return self.machine.run([CLI, *argv], check, timeout, env=self.env)

    def json(self, *argv: str) -> Any:
        return json.loads(self.cli(*argv).stdout)

    def load(self, image: Image) -> str:
        """The name of an image that Docker has now."""
        if image.name not in self._loaded:
            self.cli("load", "--quiet", "--input", str(image.archive))
            self._loaded.add(image.name)
        return image.name

    def run(self, image: Image, *argv: str, options: Argv | None = None) -> DockerContainer:
        """A container that goes on; without `argv` it sleeps."""
        done = self.cli("run", "--detach", *(options or []), self.load(image), *argv)
        return DockerContainer(self, done.stdout.strip())

    def _spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        log = self.machine.path(f"{self.folder}/{Path(argv[0]).name}.log").open("ab")
        with log:
            return self.machine.popen(list(argv), stdout=log, stderr=log)

    def _wait_for(self, socket: str) -> None:
        probe = ["python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).connect({socket!r})"]
        wait_until(lambda: not self.machine.run(probe, check=False).returncode, START_TIMEOUT, f"{socket}")

    def _remove_all(self) -> None:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            containers = self.cli("ps", "--all", "--quiet").stdout.split()
            if containers:
                self.cli("rm", "--force", *containers)


@dataclass(frozen=True)
class DockerContainer:
    docker: Docker = field(repr=False)
    id: str

    @property
    def info(self) -> dict[str, Any]:
        """What `docker inspect` says of it now."""
        return dict(self.docker.json("inspect", self.id)[0])

    def network(self, name: str) -> dict[str, Any]:
        """What it is in a network."""
        return dict(self.info["NetworkSettings"]["Networks"][name])

    @property
    def namespace_inode(self) -> int:
        return Path(f"/proc/{self.info['State']['Pid']}/ns/net").stat().st_ino

    def partition(self, network: str) -> str:
        """Its partition of a network."""
        return f"docker-{self.network(network)['EndpointID'][:12]}"

    def exec(self, *argv: str, check: bool = True) -> str:
        """What a command printed that ran in it."""
        return self.docker.cli("exec", self.id, *argv, check=check).stdout

    def pings(self, target: str) -> bool:
        return "1 packets received" in self.exec("ping", "-c", "1", "-W", "2", target, check=False)

    def remove(self) -> None:
        self.docker.cli("rm", "--force", self.id)
