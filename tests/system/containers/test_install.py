"""`vnicctl containers` sets a machine up for its runtimes, and takes away all of it."""

from __future__ import annotations

from typing import Any

from tests.framework.containers import images
from tests.framework.containers.machine import RuntimeMachine
from tests.framework.containers.needs import need_plugin
from tests.framework.containers.podman import Podman

FOLDERS = ("/etc", "/opt", "/usr/local", "/usr/lib/cni", "/var/lib/vnicd")


def files(machine: RuntimeMachine) -> set[str]:
    """All that there is where something could be put."""
    found = machine.run(
        ["find", *FOLDERS, "-path", "/etc/netns", "-prune", "-o", "-print"], check=False
    ).stdout
    return set(found.splitlines())


def runtimes(machine: RuntimeMachine) -> dict[str, Any]:
    return {each["name"]: each for each in machine.fabric.json("containers", "status")["runtimes"]}


def test_install_use_uninstall(podman: Podman) -> None:
    need_plugin()
    machine, fabric = podman.machine, podman.machine.fabric
    podman.cli("network", "ls")  # podman makes folders of its own
    before = files(machine)
    assert not runtimes(machine)["podman"]["ready"]
    fabric.cli("containers", "install", "--subnet", "10.88.7.0/24")
    found = runtimes(machine)
    assert found["podman"]["ready"], found
    assert found["podman"]["version"].startswith("4.")
    server = podman.start(images.busybox(), options=["--network=vnicd", "--name=server"])
    address = server.address("vnicd")
    assert "1 packets received" in podman.run(
        images.busybox(), "ping", "-c", "1", address, options=["--network=vnicd"]
    )
    owners = [each["owner"] for each in fabric.json("partition", "list")["partitions"]]
    assert [(owner["cni/name"], owner["cni/container"]) for owner in owners] == [("server", server.id)]
    server.remove()
    assert fabric.json("partition", "list")["partitions"] == []
    fabric.cli("containers", "uninstall")
    assert files(machine) == before
    assert not runtimes(machine)["CDI"]["ready"]
