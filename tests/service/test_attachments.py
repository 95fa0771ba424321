"""A confined service sees, and lets go of, the namespaces that it was asked to attach."""

from __future__ import annotations

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.waiting import wait_until
from tests.service.service import Service

Pair = tuple[Partition, Partition]


def names(service: Service) -> set[str]:
    return {each["name"] for each in service.call("partition.list")["partitions"]}


@pytest.mark.usefixtures("pair")
def test_it_outlives_a_reload_and_ends_with_its_process(service: Service, pair: Pair) -> None:
    blue, _ = pair
    box = ["systemd-run", "--unit=box", "unshare", "--net", "sleep", "600"]
    service.container.run(box)
    pid = service.container.show("box.service", "MainPID")
    namespace = f"/proc/{pid}/ns/net"
    wait_until(
        lambda: (
            service.container.run(["readlink", namespace]).stdout
            != service.container.run(["readlink", "/proc/1/ns/net"]).stdout
        ),
        10,
        "it has a namespace of its own",
    )
    given = ("--netns", namespace, "--address", "10.77.0.9/24", "--owner", "app=box")
    service.cli("partition", "add", "box", *given)
    assert blue.ping("10.77.0.9").lost == 0
    service.container.systemctl("reload", "vnicd")
    assert names(service) == {"blue", "green", "box"}
    service.container.systemctl("stop", "box")
    wait_until(lambda: names(service) == {"blue", "green"}, 10, "it has ended")
