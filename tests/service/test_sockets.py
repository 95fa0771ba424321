"""Direct sockets under systemd: the broker in each partition, also after a restart, and whose connections are seen."""

from __future__ import annotations

import json
import os
import subprocess

from tests.framework.fabric.namespaces import in_namespace
from tests.framework.fabric.partition import Partition
from tests.framework.sockets import preload
from tests.framework.sockets.preload import Program
from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import HOST, Service
from vnicd.cli import library
from vnicd.sockets import abi
from vnicd.sockets.abi import BROKER_NAME

ENDS = abi.address("10.77.0.2", 40000), abi.address("10.77.0.3", 6379)


def addresses(partition: Partition) -> set[str]:
    """What the broker in a partition knows, nothing while there is none."""
    try:
        one = in_namespace(partition.netns, lambda: Program(BROKER_NAME))
        known = set(preload.entries(one.table()[1]))
        one.close()
    except (ConnectionRefusedError, EOFError):
        return set()
    return known


def test_the_broker_is_there_also_after_a_restart(service: Service, pair: Pair) -> None:
    for _ in range(2):
        for partition in pair:
            wait_until(
                lambda one=partition: addresses(one) == {"10.77.0.2", "10.77.0.3"}, 10, "a broker answers"
            )
        service.container.systemctl("restart", HOST)


def test_connections_of_other_users_are_seen(service: Service, pair: Pair) -> None:
    """By the confined hosting daemon, and by who may read."""
    argv = preload.command(*ENDS, accepted=False)
    for user in ("0", "65534"):
        inside = ["ip", "netns", "exec", "blue", "setpriv", f"--reuid={user}", "--clear-groups", *argv]
        command = service.container.inside(["sh", "-c", 'cd "$0" && exec "$@"', str(preload.ROOT), *inside])
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            data = json.loads(service.cli("sockets", "--json").stdout)
            process.kill()
        (row,) = data["connections"]
        assert (row["client"]["partition"], row["client"]["program"], row["state"]) == (
            "blue",
            "pretender",
            "offered",
        )
        assert [each["partition"] for each in data["processes"]] == ["blue"]
        wait_until(lambda: not service.call("sockets.list")["connections"], 10, "the program is gone")


def test_the_library_is_there_for_everybody(service: Service) -> None:
    path = service.cli("sockets", "--library").stdout.strip()
    assert path.startswith("/opt/vnicd/")
    service.container.run(["setpriv", "--reuid=65534", "--clear-groups", "test", "-r", path])


def test_one_path_to_preload_serves_every_c_library(service: Service) -> None:
    """With $LIB as each loader reads it; an installed vnicctl exec --direct gives this path to programs."""
    folder = "/opt/vnicd/preload"
    for name in (f"lib/{os.uname().machine}-linux-gnu", "lib64", "lib", library.LITERAL):
        path = f"{folder}/{name}/{library.NAME}"
        service.container.run(["setpriv", "--reuid=65534", "--clear-groups", "test", "-r", path])
    preload = f"{library.PRELOAD}={folder}/{library.LITERAL}/{library.NAME}"
    maps = service.container.run(["env", preload, "cat", "/proc/self/maps"]).stdout
    assert f"{folder}/lib/{library.NAME}" in maps
