"""Fixtures of the system tests: fabrics, and the check that the whole session leaves nothing behind."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.framework import forked_cli
from tests.framework.fabric.fabric import VNICCTL, Fabric
from tests.framework.fabric.leaks import differences, inventory
from tests.framework.fabric.partition import Partition
from tests.framework.fabric.room import in_room
from tests.framework.uplink.uplink import MODES, Machine, Uplinked
from tests.framework.waiting import wait_until

BASE = Path(f"/run/vnicd-test-{os.getpid()}")
"""Holds the runtime directories of all fabrics of this session."""

TAG = f"{os.getpid() % 100_000}f"
"""In the name of every partition and namespace of this session."""

TOOLS = ("ip", "nsenter", "unshare", "ping", "iperf3", "ethtool", "tcpdump", "nft", "dnsmasq", "udhcpc")

Pair = tuple[Partition, Partition]
MakeFabric = Callable[..., Fabric]
MakeMachine = Callable[[], Machine]

_numbers = itertools.count(1)
_living: list[Fabric] = []


def missing() -> str:
    """Why the system tests cannot run here, or an empty text."""
    if os.geteuid() != 0:
        return "not root"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    if not VNICCTL.exists():
        return f"no {VNICCTL}: run scripts/setup"
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


@pytest.fixture(scope="session", autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails the session when processes, namespaces, interfaces, hugepages, descriptors or files remain."""
    if reason := missing():
        pytest.skip(reason)
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))
    BASE.mkdir()
    forked_cli.begin()
    try:
        before = inventory(BASE, TAG)
        yield
        try:
            wait_until(lambda: not differences(before, inventory(BASE, TAG)), 10, "the machine is as before")
        except AssertionError:
            pytest.fail("left by the tests: " + "; ".join(differences(before, inventory(BASE, TAG))))
    finally:
        shutil.rmtree(BASE)


@pytest.fixture(scope="module")
def make_module_fabric() -> Iterator[MakeFabric]:
    """Makes fabrics that live until the end of the module."""
    yield from _make()


@pytest.fixture
def make_fabric() -> Iterator[MakeFabric]:
    """Makes fabrics that live until the end of the test."""
    yield from _make()


def _make() -> Iterator[MakeFabric]:
    made: list[Fabric] = []

    def make(netns: str = "") -> Fabric:
        number = next(_numbers)
        made.append(Fabric(BASE / f"f{number}", f"{TAG}{number}", netns))
        _living.append(made[-1])
        return made[-1]

    try:
        yield make
    finally:
        _close(made)


def _close(made: list[Fabric]) -> None:
    """Some side by side: much of it is waiting for daemons to end."""
    with ThreadPoolExecutor(4) as pool:
        closing = [pool.submit(fabric.close) for fabric in made]
    for fabric in made:
        _living.remove(fabric)
    for each in closing:
        each.result()


def _live(stack: ExitStack, fabric: Fabric, close: Callable[[], None]) -> None:
    _living.append(fabric)
    stack.callback(_living.remove, fabric)
    stack.callback(close)


@contextmanager
def closing_fabrics() -> Iterator[Callable[[Fabric, Callable[[], None]], None]]:
    """What takes a fabric, whose logs are wanted, and how it is closed at the end; the latest is first."""
    with ExitStack() as stack:
        yield lambda fabric, close: _live(stack, fabric, close)


@pytest.fixture(scope="module")
def make_module_machine() -> Iterator[MakeMachine]:
    """Makes machines with a NIC, and a fabric in each, that live until the end of the module."""
    yield from _make_machines()


@pytest.fixture
def make_machine() -> Iterator[MakeMachine]:
    """Makes machines that live until the end of the test."""
    yield from _make_machines()


def _make_machines() -> Iterator[MakeMachine]:
    with ExitStack() as stack:

        def make() -> Machine:
            number = next(_numbers)
            machine = Machine(BASE / f"f{number}", f"{TAG}{number}")
            _live(stack, machine.fabric, machine.close)
            return machine.build()

        yield make


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    """A machine of this test alone; its fabric is not started."""
    return make_machine()


@pytest.fixture(scope="session", params=MODES)
def uplinked(request: pytest.FixtureRequest) -> Iterator[Uplinked]:
    """A machine with an uplink of each mode in turn and two partitions; all tests share it, and leave it as it was."""
    with contextmanager(_make_machines)() as make:
        yield Uplinked.start(make(), request.param)


@pytest.fixture
def fabric(make_fabric: MakeFabric) -> Fabric:
    """A fabric of this test alone; not started."""
    return make_fabric()


@pytest.fixture(scope="module")
def shared(make_module_fabric: MakeFabric) -> Fabric:
    """A running fabric that the tests of a module share; they leave it as they found it."""
    return make_module_fabric().up()


@pytest.fixture(scope="module")
def pair(shared: Fabric) -> Pair:
    """Two partitions of the shared fabric, with IPv4 and IPv6 addresses."""
    blue = shared.add("blue", "10.77.0.1/24", "fd77::1/64")
    green = shared.add("green", "10.77.0.2/24", "fd77::2/64")
    return blue, green


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With the fixtures of its module, which may start a fabric."""
    with in_room(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Puts the daemons' logs beside the report of a failed test."""
    report = yield
    if report.failed:
        report.sections += [(f"logs of {fabric.runtime}", fabric.logs()) for fabric in _living]
    return report
