"""A partition daemon that was taken over does to the host what it can; the others, and `vnicctl`, notice nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import MakeFabric, Pair
from tests.support import evil
from tests.support.evil.daemon import tell
from tests.support.fabric import Fabric
from tests.support.partition import Partition
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shared(make_module_fabric: MakeFabric) -> Fabric:
    """A fabric whose daemons load the hostile part, which begins in one whose name says so."""
    fabric = make_module_fabric()
    folder = Path(evil.__file__).parent
    fabric.env |= {"PYTHONPATH": str(folder), "EVIL_TREE": str(ROOT)}
    return fabric.up()


@pytest.fixture
def bad(shared: Fabric, pair: Pair) -> Iterator[Partition]:
    """A new one for each test, as one that is found out may have lost its connection."""
    one = shared.add("evil", "10.77.0.66/24")
    assert one.ping(pair[0].ip, count=3).lost == 0
    yield one
    shared.cli("partition", "remove", one.name)


def log_bytes(fabric: Fabric) -> int:
    return sum(file.stat().st_size for file in (fabric.runtime / "log").glob("host*.log"))


def descriptors(fabric: Fabric) -> int:
    return len(list(Path(f"/proc/{fabric.host_pid()}/fd").iterdir()))


def threads(fabric: Fabric) -> int:
    return len(list(Path(f"/proc/{fabric.host_pid()}/task").iterdir()))


DEEDS = [("linger", 30), ("shout", 2), ("ask", 2), ("connect", 400), ("reconnect", 400)]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed[0])
def test_the_others_go_on(shared: Fabric, pair: Pair, bad: Partition, deed: tuple[str, int]) -> None:
    blue, green = pair
    written, opened, begun_threads = log_bytes(shared), descriptors(shared), threads(shared)
    running = blue.start_ping(green.ip, count=200)
    said = tell(bad.name, *deed)
    for _ in range(5):
        begun = time.monotonic()
        shared.json("status")
        assert time.monotonic() - begun < 2.5
    assert running.result().lost == 0
    assert int(said) > 0
    assert log_bytes(shared) - written < 4096
    assert descriptors(shared) - opened < 150
    assert threads(shared) - begun_threads < 20
    new = shared.add("new", "10.77.0.67/24")
    assert new.ping(green.ip, count=5).lost == 0
    shared.wait_path(new, green, "direct")
    shared.cli("partition", "remove", new.name)


def test_a_lost_interface_is_lost_once(shared: Fabric, bad: Partition) -> None:
    """However often it is said: one line in the log, one new daemon, and none of the rest is its successor's word."""

    def lines() -> int:
        texts = [file.read_text() for file in (shared.runtime / "log").glob("host*.log")]
        return sum(text.count(f"the interface of partition {bad.name} is gone") for text in texts)

    before = lines()
    tell(bad.name, "lose_tap", 200)
    wait_until(lambda: bad.info["restarts"] == 1 and bad.info["state"] == "up", 20, "there is a new daemon")
    assert lines() == before + 1
