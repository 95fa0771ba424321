"""Direct sockets in containers, by the CDI device vnicd.io/direct=on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.framework.containers import images
from tests.framework.containers.needs import need, need_plugin
from tests.framework.containers.podman import Podman
from tests.framework.fabric.partition import Partition
from tests.framework.programs import PROGRAMS
from tests.framework.sockets.images import image
from tests.framework.sockets.libraries import compile_program
from tests.framework.waiting import wait_until

DEVICE = "--device=vnicd.io/direct=on"
HARDENED = ["--read-only", "--cap-drop=all", "--user=65534:65534", "--security-opt=no-new-privileges"]
SERVER = ["redis-server", "--protected-mode", "no", "--save", "", "--appendonly", "no"]
ID = "0123456789abcdef" * 4

MUSL = Path("/lib/ld-musl-x86_64.so.1")
DEBIAN_11 = ("bullseye", "busybox-static", "libc6-dev", "python3-minimal")
"""Its glibc is 2.31. The same as other tests use."""


@pytest.fixture(scope="module")
def direct(podman: Podman) -> Podman:
    """Podman in a machine where `vnicctl containers install` has put the device."""
    need_plugin()
    podman.machine.fabric.cli("containers", "install")
    return podman


@pytest.fixture(scope="module")
def ends(direct: Podman) -> Iterator[tuple[Partition, Partition]]:
    """Partitions as plugins make them: one whose container has a name, one with its id alone."""
    fabric = direct.machine.fabric
    web = fabric.add("web", "10.77.1.1/24", owner=("cni/name=front", f"cni/container={ID}"))
    yield web, fabric.add("db", "10.77.1.2/24", owner="docker/network=x")


def network(partition: Partition) -> str:
    return f"--network=ns:/run/netns/{partition.name}"


def test_redis_in_hardened_containers(direct: Podman, ends: tuple[Partition, Partition]) -> None:
    """No capabilities, another user, nothing to write to, and podman's own filter of system calls."""
    need("redis-server")
    fabric, (web, db) = direct.machine.fabric, ends
    server = direct.start(images.redis(), *SERVER, options=[network(db), DEVICE, *HARDENED])
    wait_until(lambda: "Ready to accept" in server.logs(), 20, "redis is ready")
    argv = ["redis-benchmark", "-h", db.ip, "-c", "4", "-n", "100000000", "-t", "get"]
    client = direct.start(images.redis(), *argv, options=[network(web), DEVICE, *HARDENED])

    def connections() -> list[dict[str, Any]]:
        found = fabric.json("sockets")["connections"]
        return [each for each in found if each["state"] == "up"]

    found = wait_until(connections, 20, "connections are direct")
    assert {(each["client"]["program"], each["server"]["program"]) for each in found} == {
        ("redis-benchmark", "redis-server")
    }
    assert {(each["client"]["container"], each["server"]["container"]) for each in found} == {
        ("front", server.id[:12])
    }
    assert "front:" in fabric.cli("sockets").stdout
    client.remove()
    server.remove()


def run(direct: Podman, image: images.Image, *argv: str, mounts: tuple[Path, ...] = ()) -> str:
    options = ["--network=none", DEVICE, *HARDENED, *(f"--volume={path}:{path}:ro" for path in mounts)]
    return direct.run(image, *argv, options=options).strip()


def test_a_static_program_runs_as_ever(direct: Podman) -> None:
    assert run(direct, images.busybox(), "echo", "well") == "well"


@pytest.mark.skipif(not MUSL.exists(), reason="not installed: musl-tools")
def test_a_program_of_musl_has_the_library(direct: Podman, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program = compile_program(["musl-gcc"], [PROGRAMS / "preloaded.c"], tmp_path / "preloaded")
    assert int(run(direct, images.busybox(), str(program), mounts=(program, MUSL))) > 0


@pytest.mark.tools
def test_a_program_of_an_older_glibc_has_the_library(direct: Podman) -> None:
    debian = images.of_root("bullseye", image(*DEBIAN_11))
    count = "print(open('/proc/self/maps').read().count('libvnicd-sockets'))"
    assert int(run(direct, debian, "python3.9", "-c", count)) > 0
