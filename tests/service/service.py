"""vnicd as installed in a container: the declared fabric, its units, and its partitions as tests use them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.partition import Partition
from tests.framework.systemd.container import ROOT, Container
from tests.framework.waiting import wait_until

CONFIG = "/etc/vnicd/vnicd.toml"
HOST = "vnicd.service"

PAIR = """
[partitions.blue]
addresses = ["10.77.0.2/24"]
gateways = ["10.77.0.1"]
publish = ["8080:80"]

[partitions.green]
addresses = ["10.77.0.3/24"]
"""

UPLINK = """
[uplink]
nic = "nic0"
mode = "nat"
subnets = ["10.77.0.1/24"]
"""

DECLARED = UPLINK + PAIR
"""The fabric that tests start from: two partitions behind an uplink."""


class Service(Fabric):
    """The fabric of a container; `runtime` is its directory as seen from out here."""

    def __init__(self, container: Container) -> None:
        super().__init__(container.path("/run/vnicd"), "")
        self.container = container

    def name(self, label: str) -> str:
        """Nobody else's fabric is in the container."""
        return label

    def install(self, *options: str) -> str:
        done = self.container.run([str(ROOT / "scripts/install"), *options], timeout=300)
        return done.stdout

    def cli(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return self.container.run(["vnicctl", *argv], check=check, timeout=timeout)

    def partition(self, label: str) -> Partition:
        info = self.call("partition.show", name=label)
        netns = str(self.container.path(info["netns"]))
        return Partition(self, label, netns, info["mac"], tuple(info["addresses"]), info["ifname"])

    def remote(self) -> Partition:
        """What is at the other end of the NIC's cable."""
        return Partition(
            self, "remote", str(self.container.path("/run/netns/remote")), "", ("198.51.100.1/24",), "wire0"
        )

    def declare(self, text: str) -> None:
        self.container.path(CONFIG).write_text(text)

    def settle(self, text: str = DECLARED) -> tuple[Partition, Partition]:
        """The fabric runs as declared, whatever a test did before; blue and green have a direct link."""
        self.declare(text)
        self.container.systemctl("reset-failed")
        self.container.systemctl("start", "vnicd")
        try:
            self.container.systemctl("reload", "vnicd")
            self.wait_up("blue", "green", timeout=5)
        except (
            AssertionError
        ):  # a test that failed has left it broken; the next one is not to suffer from that
            self.begin_anew()
            self.wait_up("blue", "green")
        blue, green = self.partition("blue"), self.partition("green")
        wait_until(lambda: blue.ping(green.ip).lost == 0, 10, "green answers blue")
        self.wait_path(blue, green, "direct")
        return blue, green

    def begin_anew(self) -> None:
        """From nothing: no daemon, no namespace."""
        self.container.systemctl("stop", "vnicd.socket", "vnicd", "vnicd-partition@*", check=False)
        self.container.run(["vnicd", "teardown"], check=False)
        self.container.systemctl("start", "vnicd")

    def wait_up(self, *labels: str, timeout: float = 15) -> None:
        def states() -> dict[str, str]:
            listed = self.call("partition.list")["partitions"]
            return {port["name"]: port["state"] for port in listed}

        wait_until(
            lambda: states() == dict.fromkeys(labels, "up"), timeout, f"{labels} are up, and no others"
        )

    def reboot(self) -> None:
        self.container.reboot()
        self.runtime = self.container.path("/run/vnicd")

    def units(self) -> dict[str, str]:
        """The services of ours that are loaded, and how each is; but for names helpers, of which each is new."""
        listed = self.container.systemctl(
            "list-units", "--all", "--no-legend", "--plain", "--type=service", "vnicd*"
        )
        rows = [line.split() for line in listed.splitlines()]
        return {
            row[0]: row[2] for row in rows if row[2] != "inactive" and not row[0].startswith("vnicd-names@")
        }

    def main_pid(self, unit: str) -> int:
        """The main process of a unit, as it is called inside."""
        return int(self.container.show(unit, "MainPID"))

    def restarts(self, unit: str) -> int:
        """How often systemd has started a unit again by itself."""
        return int(self.container.show(unit, "NRestarts"))

    def kernel_state(self, partition: Partition) -> tuple[Any, Any]:
        """Addresses and routes of a partition, as its kernel has them."""
        addresses = json.loads(partition.run(["ip", "-j", "address", "show", "dev", partition.ifname]).stdout)
        routes = json.loads(partition.run(["ip", "-j", "route"]).stdout)
        facts = [(one["local"], one["prefixlen"]) for one in addresses[0]["addr_info"]]
        return (addresses[0]["ifindex"], addresses[0]["address"], facts), routes

    def logs(self) -> str:
        return "\n--- journal\n" + self.container.journal("--lines=80", "--unit=vnicd*")

    def close(self) -> None:
        """Ends what the tests started; the container goes as a whole."""
        self._stack.close()


def unit(label: str) -> str:
    """The unit of a partition."""
    return f"vnicd-partition@{label}.service"
