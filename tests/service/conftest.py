"""Fixtures of the service tests: containers with a booted systemd, one of them with vnicd installed and running."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.framework.fabric.machine import daemons, hugepage_limit, limit_is_claimed
from tests.framework.fabric.partition import Partition
from tests.framework.systemd.container import ROOT, Container, missing
from tests.framework.waiting import wait_until
from tests.service.service import Service

HERE = Path(__file__).parent

Pair = tuple[Partition, Partition]
Boot = Callable[[], Service]

_numbers = itertools.count(1)
_living: list[Service] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever comes first builds all wheels, which takes minutes on a busy machine, and boots a container."""
    for item in items:
        if item.path.is_relative_to(HERE) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails the session when the machine is not as before; each container checks its own remains.

    The limit of hugepages is told of only while no other fabric runs on the machine.
    """
    if reason := missing():
        pytest.skip(reason)
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))
    before, alone = hugepage_limit(), not daemons() and not limit_is_claimed()
    yield
    if alone:
        wait_until(lambda: daemons() or hugepage_limit() == before, 10, f"the limit of hugepages is {before}")


@pytest.fixture(scope="session")
def wheels() -> Path:
    """All that an installation needs, so that it can do without a network; made anew when a source has changed."""
    sources = sorted(
        path
        for path in (*ROOT.glob("cext/**/*"), *ROOT.glob("vnicd/**/*.py*"), *ROOT.glob("*.*"))
        if path.suffix in (".py", ".pyi", ".pyx", ".pxd", ".h", ".c", ".toml", ".in")
    )
    digest = hashlib.sha256(sys.version.encode())
    for path in sources:
        digest.update(f"{path} ".encode() + path.read_bytes())
    folder = ROOT / "build/wheels" / digest.hexdigest()[:16]
    if not folder.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        _make_wheels(folder)
    return folder


def _make_wheels(folder: Path) -> None:
    unfinished = folder.with_name("unfinished")
    done = subprocess.run(
        [ROOT / "scripts/install", "--make-wheels", unfinished], check=False, capture_output=True, text=True
    )
    assert not done.returncode, f"scripts/install --make-wheels: {done.stdout}{done.stderr}"
    unfinished.rename(folder)


@pytest.fixture(scope="module")
def boot() -> Iterator[Boot]:
    """Boots containers that live until the end of the module."""
    with _booting() as make:
        yield make


@contextmanager
def _booting() -> Iterator[Boot]:
    with ExitStack() as stack:

        def make() -> Service:
            container = Container(f"vnicd-{os.getpid()}-{next(_numbers)}")
            stack.callback(container.close)
            service = Service(container.boot())
            stack.callback(service.close)
            _living.append(service)
            stack.callback(_living.remove, service)
            return service

        yield make


@pytest.fixture(scope="session")
def service(wheels: Path) -> Iterator[Service]:
    """vnicd installed and enabled; all tests share it, and begin with a fabric that they declare."""
    with _booting() as make:
        service = make()
        service.install("--wheels", str(wheels))
        service.container.systemctl("enable", "vnicd")
        yield service


@pytest.fixture
def pair(service: Service) -> Pair:
    """Two partitions with a direct link, behind an uplink."""
    return service.settle()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Puts the journals beside the report of a failed test."""
    report = yield
    if report.failed:
        report.sections += [(f"journal of {one.container.name}", one.logs()) for one in _living]
    return report
