"""Memory: hugepages by default, ordinary pages when told so or when there are none; and doctor."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import VNICCTL, Fabric
from tests.framework.fabric.machine import OVERCOMMIT, free_hugepages, hugepages_in_use
from tests.framework.fabric.partition import Partition
from tests.framework.programs import PROGRAMS
from tests.framework.traffic.streams import connect, exchange
from tests.framework.waiting import wait_until

HUGE, ORDINARY = 2 << 20, 4096

NO_MORE_PAGES = str(PROGRAMS / "no_more_pages.sh")
"""Runs a command that cannot raise the number of hugepages."""


def linked(fabric: Fabric) -> tuple[Partition, Partition]:
    one, other = fabric.add("one", "10.92.0.1/24"), fabric.add("other", "10.92.0.2/24")
    assert one.ping(other.ip, count=5).lost == 0
    fabric.wait_path(one, other, "direct")
    exchange(*connect(one, other, other.ip), 8 << 20, back=8 << 20)
    return one, other


def kernel_page_sizes(pid: int) -> set[int]:
    """Of the memfds that a process has mapped."""
    sizes, memfd = set(), False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            memfd = "memfd:" in line
        elif first == "KernelPageSize:" and memfd:
            sizes.add(int(line.split()[1]) << 10)
    return sizes


def reported(fabric: Fabric, pair: tuple[Partition, Partition]) -> set[int]:
    """Every page size that status and links tell of the pair."""
    status = fabric.json("status")
    sizes = {fabric.link(*pair)["page_size"], status["fabric"]["page_size"]}
    return sizes | {partition.info["page_size"] for partition in pair}


@pytest.mark.parametrize("mode", ["auto", "require"])
def test_hugepages_are_used(fabric: Fabric, mode: str) -> None:
    pair = linked(fabric.up("--hugepages", mode))
    wait_until(lambda: reported(fabric, pair) == {HUGE}, 10, "a link that moves much is on huge pages")
    assert fabric.json("status")["fabric"]["degraded"] is None
    assert hugepages_in_use()
    assert all(HUGE in kernel_page_sizes(partition.pid) for partition in pair)


def test_never(fabric: Fabric) -> None:
    pair = linked(fabric.up("--hugepages", "never"))
    assert reported(fabric, pair) == {ORDINARY}
    assert all(kernel_page_sizes(partition.pid) == {ORDINARY} for partition in pair)


@pytest.fixture
def no_hugepages() -> Iterator[None]:
    """The machine has none to give; to be used with NO_MORE_PAGES, or vnicd asks for more."""
    if free_hugepages():
        pytest.skip("the machine has free hugepages, which this test would have to take away")
    before = OVERCOMMIT.read_text()
    OVERCOMMIT.write_text("0")
    yield
    OVERCOMMIT.write_text(before)


def up_without_hugepages(fabric: Fabric, mode: str) -> subprocess.CompletedProcess[str]:
    argv = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-e", NO_MORE_PAGES]
    argv += [str(VNICCTL), "up", "--hugepages", mode]
    return subprocess.run(argv, capture_output=True, text=True, env=fabric.env)


@pytest.mark.alone
@pytest.mark.usefixtures("no_hugepages")
def test_require_without_hugepages(fabric: Fabric) -> None:
    done = up_without_hugepages(fabric, "require")
    assert done.returncode == 10, done.stderr
    assert done.stderr.startswith("vnicctl: ")
    assert done.stderr.count("\n") == 1
    assert fabric.left_behind() == []


@pytest.mark.alone
@pytest.mark.usefixtures("no_hugepages")
def test_auto_without_hugepages(fabric: Fabric) -> None:
    """It runs, on ordinary pages, and says so."""
    assert up_without_hugepages(fabric, "auto").returncode == 0
    pair = linked(fabric)
    assert reported(fabric, pair) == {ORDINARY}
    degraded = fabric.json("status")["fabric"]["degraded"]
    assert "hugepage" in degraded
    assert degraded in " ".join(fabric.cli("status").stdout.split())


@pytest.mark.alone
@pytest.mark.parametrize(
    ("mode", "path", "page_size"), [("auto", "direct", ORDINARY), ("require", "relay", None)]
)
def test_hugepages_run_out(fabric: Fabric, mode: str, path: str, page_size: int | None) -> None:
    """New links take ordinary pages; where those are not allowed, the relay carries on."""
    fabric.up("--hugepages", mode)
    one, other = fabric.add("one", "10.92.0.1/24"), fabric.add("other", "10.92.0.2/24")
    before = OVERCOMMIT.read_text()
    OVERCOMMIT.write_text("0")
    try:
        assert one.ping(other.ip, count=50).lost == 0
        fabric.wait_path(one, other, path)
        exchange(*connect(one, other, other.ip), 4 << 20, back=4 << 20)
        assert (fabric.path(one, other), fabric.link(one, other)["page_size"]) == (path, page_size)
        assert "hugepage" in fabric.json("status")["fabric"]["degraded"]
    finally:
        OVERCOMMIT.write_text(before)
    assert fabric.json("status")["fabric"]["degraded"] is None


@pytest.mark.parametrize("running", [False, True])
def test_doctor(fabric: Fabric, running: bool) -> None:
    if running:
        fabric.up()
    checks = fabric.doctor()
    assert {"tun", "hugepages", "namespaces"} <= {check["name"] for check in checks}
    for check in checks:
        assert check["status"] in ("ok", "skip", "warn", "fail")
        assert check["detail"]
        assert check["status"] == "ok" or check["remedy"]
    assert not [check for check in checks if check["status"] == "fail"]
    text = fabric.cli("doctor", check=False).stdout
    assert all(check["name"] in text for check in checks)
