"""Podman as the tests run it, and a partition in a container's namespace."""

from __future__ import annotations

import re

from tests.framework.containers import images
from tests.framework.containers.podman import Podman


def test_a_bridge_of_podmans_own(podman: Podman) -> None:
    podman.cli("network", "create", "plain")
    server = podman.start(images.busybox(), options=["--network=plain"])
    output = podman.run(
        images.busybox(), "ping", "-c", "1", server.address("plain"), options=["--network=plain"]
    )
    assert "1 packets received" in output
    server.remove()


def test_a_partition_in_a_container(podman: Podman) -> None:
    fabric = podman.machine.fabric
    container = podman.start(images.busybox(), options=["--network=none"])
    fabric.add("inside", "10.77.0.1/24", netns=f"/proc/{container.pid}/ns/net")
    peer = fabric.add("beside", "10.77.0.2/24")
    assert re.search(r"\b1 packets received", container.exec("ping", "-c", "1", peer.ip))
    fabric.cli("partition", "remove", fabric.name("inside"), peer.name)
    container.remove()
