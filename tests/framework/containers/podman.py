"""Podman 4.3 in a machine of its own: runc, cgroupfs, networks by CNI."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.framework.containers.images import Image
from tests.framework.containers.machine import RuntimeMachine
from tests.framework.fabric.partition import Argv

CNI_FOLDERS = ("/opt/cni/bin", "/usr/lib/cni")
NETWORKS = "/etc/cni/net.d"

# crun of Debian 12 refuses hybrid control groups. Locks in shared memory would be shared with a podman of this machine.
CONFIGURATION = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "{folder}/podman/tmp"
num_locks = 256

[network]
network_backend = "cni"
cni_plugin_dirs = [{plugins}]
network_config_dir = "{networks}"

[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
default_capabilities = [{capabilities}]
log_driver = "k8s-file"
"""

CAPABILITIES = (
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
)
"""Those that podman gives by default, and NET_RAW, as Docker does: busybox can't ping without it."""

STORAGE = """\
[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "{folder}/podman/run"
"""


class Podman:
    """The podman of a machine, set up by its files in /etc/containers: any podman that is run in the machine is it.

    `plugins` are folders where CNI plugins are looked for before all others.
    """

    def __init__(self, machine: RuntimeMachine, *plugins: Path) -> None:
        self.machine = machine
        self._loaded: set[str] = set()
        quoted = ", ".join(f'"{folder}"' for folder in (*plugins, *CNI_FOLDERS))
        capabilities = ", ".join(f'"CAP_{name}"' for name in CAPABILITIES.split())
        files = {"containers.conf": CONFIGURATION, "storage.conf": STORAGE}
        for name, text in files.items():
            filled = text.format(
                folder=machine.folder, plugins=quoted, networks=NETWORKS, capabilities=capabilities
            )
            machine.write(f"/etc/containers/{name}", filled)
        machine.on_close(self.remove_all)

    def cli(
        self, *argv: str, check: bool = True, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """The finished podman; AssertionError with its output when it failed and `check` is set."""
        return self.machine.run(["podman", *argv], check, timeout, **options)

    def json(self, *argv: str) -> Any:
        return json.loads(self.cli(*argv).stdout)

    def load(self, image: Image) -> str:
        """The name of an image that podman has now."""
        if image.name not in self._loaded:
            self.cli("load", "--quiet", "--input", str(image.archive))
            self._loaded.add(image.name)
        return image.name

    def command(self, image: Image, *argv: str, options: Argv | None = None, detach: bool = False) -> Argv:
        """The words of `podman run`."""
        words = ["run", f"--cgroup-parent={self.machine.cgroup}", *(["--detach"] if detach else ["--rm"])]
        return [*words, *(options or []), self.load(image), *argv]

    def run(self, image: Image, *argv: str, options: Argv | None = None, check: bool = True) -> str:
        """What a container printed that ran to its end, on both streams if it may fail."""
        done = self.cli(*self.command(image, *argv, options=options), check=check)
        return done.stdout if check else done.stdout + done.stderr

    def start(self, image: Image, *argv: str, options: Argv | None = None) -> Container:
        """A container that goes on; without `argv` it sleeps."""
        identifier = self.cli(*self.command(image, *argv, options=options, detach=True)).stdout.strip()
        return Container(self, identifier)

    def remove_all(self) -> None:
        self.cli("rm", "--all", "--force", "--time=0", check=False)


@dataclass(frozen=True)
class Container:
    """A container of podman's that was started."""

    podman: Podman = field(repr=False)
    id: str

    @property
    def info(self) -> dict[str, Any]:
        """What `podman inspect` says of it now."""
        return dict(self.podman.json("inspect", self.id)[0])

    @property
    def pid(self) -> int:
        return int(self.info["State"]["Pid"])

    def address(self, network: str) -> str:
        """Its IPv4 address in a network."""
        return str(self.info["NetworkSettings"]["Networks"][network]["IPAddress"])

    def exec(self, *argv: str, check: bool = True, timeout: float = 60) -> str:
        """What a command printed that ran in it."""
        return self.podman.cli("exec", self.id, *argv, check=check, timeout=timeout).stdout

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        """A running `podman exec`."""
        return self.podman.machine.popen(["podman", "exec", self.id, *argv], **options)

    def logs(self) -> str:
        done = self.podman.cli("logs", self.id)
        return done.stdout + done.stderr

    def remove(self) -> None:
        self.podman.cli("rm", "--force", "--time=0", self.id)
