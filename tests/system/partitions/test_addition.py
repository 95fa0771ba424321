"""The addition of a partition fails, or is cancelled, at each of its steps: the machine is as it was before.

The fabric is that of a hosting daemon, in this process, so that a step can be made to fail; all else is real.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.framework.descriptors import open_fds
from tests.framework.fabric import machine
from tests.framework.fabric.namespaces import NETNS, in_namespace, named
from tests.framework.waiting import wait_until
from tests.system.conftest import BASE, TAG
from vnicd.config import Options, Paths
from vnicd.errors import NotRunning, Resources, VnicdError
from vnicd.host.addition import Addition
from vnicd.host.fabric import Fabric, remove_files
from vnicd.host.operation import Step
from vnicd.spec.partition import PartitionSpec, make_partition

STEPS = (
    "reserve a port",
    "check that its place is free",
    "write the state: it is being added",
    "make its namespace",
    "start its daemon",
    "write the state: its process",
    "make its interface",
    "wait until its daemon is up",
    "let the uplink admit it",
    "write the state: it is a member",
    "let the broker serve it",
)
NAMESPACE_STEP = "make its namespace"
UNDONE = (
    "reserve a port",
    "make its namespace",
    "start its daemon",
    "let the uplink admit it",
    "write the state: it is a member",
)
"""Steps that leave something behind."""

OWN, ATTACHED = "own", "attached"

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """A hosting daemon ends with its process, which closes what its fabric has open; here that is done by hand."""
    yield
    gc.collect()


@pytest.fixture
def attached() -> Iterator[str]:
    """The name of a namespace with some settings of its own, which is given by --netns."""
    name = f"{TAG}box{next(_numbers)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (
            "link set lo up",
            "link add there type veth peer name other",
            "link set there addrgenmode none up",
            "link set other addrgenmode none up",
            "address add 192.0.2.1/24 dev there",
            "route add 198.51.100.0/24 via 192.0.2.9",
        ):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@asynccontextmanager
async def running(paths: Paths) -> AsyncIterator[Fabric]:
    """A fabric with one partition, whose state is written."""
    paths.root.mkdir()
    fabric = Fabric(paths, Options(hugepages="never"), lambda: None)
    await fabric.start()
    try:
        await fabric.add(make_partition(f"{TAG}first{next(_numbers)}", ["10.66.0.1/24"]))
        yield fabric
        if not fabric.down:
            await fabric.take_down()
    finally:
        await fabric.stop()
        remove_files(paths)


def wanted(kind: str, attached: str) -> PartitionSpec:
    return make_partition(
        f"{TAG}new{next(_numbers)}",
        ["10.66.0.2/24", "fd66::2/64"],
        netns=attached if kind == ATTACHED else None,
        gateways=["10.66.0.1"],
    )


def settings() -> dict[str, str]:
    """The settings of the network in the namespace of the calling thread."""
    found = {}
    for path in Path("/proc/sys/net").rglob("*"):
        try:
            if path.is_file():
                found[str(path)] = path.read_text()
        except (OSError, UnicodeDecodeError):
            continue  # it can only be written, or is nothing of this namespace
    return found


def addressing(name: str) -> list[Any]:
    queries = (
        ["address"],
        ["route", "show", "table", "all"],
        ["-6", "route", "show", "table", "all"],
        ["rule"],
    )
    outputs = [
        subprocess.run(["ip", "-j", "-n", name, *query], check=True, capture_output=True).stdout
        for query in queries
    ]
    return [json.loads(output or b"[]") for output in outputs]


def ours() -> set[str]:
    """The names of the namespaces of this session."""
    return {name for name in named() if name.startswith(TAG)}


def state_of_the_machine(fabric: Fabric, attached: str) -> dict[str, object]:
    root = fabric.paths.root
    namespaces = ours()
    return {
        "namespaces": namespaces,
        "interfaces, addresses and routes": {name: addressing(name) for name in sorted(namespaces)},
        "settings": in_namespace(str(NETNS / attached), settings),
        "files": {str(path): path.stat().st_mode for path in root.rglob("*")},
        "state": (root / "state.json").read_text(),
        "processes": {pid for pid, place in machine.daemons().items() if place.is_relative_to(root)},
        "ports": sorted(port.spec.name for port in fabric.ports),
        "links": [sorted(fabric.relay.links.live), sorted(fabric.relay.links.by_id)],
        "descriptors": open_fds(),
    }


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return [
        f"{key}: {before[key]!r} before, {after[key]!r} now" for key in before if before[key] != after[key]
    ]


class Failing:
    """Makes the step of a name do something else, and notes what is done and undone."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, name: str, instead: Callable[[], Awaitable[None]]
    ) -> None:
        self.done: list[str] = []
        self.undone: list[str] = []
        steps = Addition.steps

        def some(addition: Addition) -> list[Step]:
            return [
                replace(step, do=instead, waits=True) if step.name == name else self._noted(step)
                for step in steps(addition)
            ]

        monkeypatch.setattr(Addition, "steps", some)

    def _noted(self, step: Step) -> Step:
        undo = self._noting(self.undone, step.name, step.undo) if step.undo else None
        return replace(step, do=self._noting(self.done, step.name, step.do), undo=undo)

    @staticmethod
    def _noting(
        into: list[str], name: str, work: Callable[[], Awaitable[object]]
    ) -> Callable[[], Awaitable[object]]:
        async def noting() -> None:
            await work()
            into.append(name)

        return noting


async def _fail() -> None:
    raise Resources("there is no more room in this test")


async def _break() -> None:
    raise OSError(28, "No space left on device")


def steps_of(kind: str) -> list[str]:
    return [name for name in STEPS if kind == OWN or name != NAMESPACE_STEP]


@pytest.mark.parametrize("kind", [OWN, ATTACHED])
@pytest.mark.parametrize("instead", [_fail, _break])
def test_a_step_that_fails_leaves_the_machine_as_it_was(
    kind: str, instead: Callable[[], Awaitable[None]], attached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def attempt() -> None:
        async with running(Paths(BASE / f"addition{next(_numbers)}")) as fabric:
            await whole(fabric, kind, attached)  # what only the first one makes, like a thread
            before = state_of_the_machine(fabric, attached)
            for number, name in enumerate(steps_of(kind)):
                with monkeypatch.context() as patch:
                    failing = Failing(patch, name, instead)
                    with pytest.raises((VnicdError, OSError), match=r"no more room|No space"):
                        await fabric.add(wanted(kind, attached))
                assert failing.done == steps_of(kind)[:number]
                assert failing.undone == [each for each in reversed(failing.done) if each in UNDONE]
                await is_as_before(fabric, attached, before, name)
            await whole(fabric, kind, attached)

    asyncio.run(attempt())


@pytest.mark.parametrize("kind", [OWN, ATTACHED])
def test_to_take_the_fabric_down_in_a_step_leaves_nothing(
    kind: str, attached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that is under way is the last that is done; in the one after it we would wait for ever."""

    async def attempt(name: str) -> None:
        reached = asyncio.Event()

        async def wait() -> None:
            reached.set()
            await asyncio.get_running_loop().create_future()

        paths = Paths(BASE / f"addition{next(_numbers)}")
        async with running(paths) as fabric:
            with monkeypatch.context() as patch:
                failing = Failing(patch, name, wait)
                adding = asyncio.ensure_future(fabric.add(wanted(kind, attached)))
                await reached.wait()
                await fabric.take_down()
                with pytest.raises(NotRunning, match="taken down"):
                    await adding
            assert failing.undone == [each for each in reversed(failing.done) if each in UNDONE]
        assert not paths.root.exists()
        assert ours() == there

    there = ours()  # of fabrics that other tests of the session share, too
    before = in_namespace(str(NETNS / attached), settings), addressing(attached)
    for name in ("make its interface", "wait until its daemon is up", "let the broker serve it"):
        asyncio.run(attempt(name))
    assert (in_namespace(str(NETNS / attached), settings), addressing(attached)) == before


async def whole(fabric: Fabric, kind: str, attached: str) -> None:
    """A partition can be added in the place where others could not be, and is taken away again."""
    port = await fabric.add(wanted(kind, attached))
    assert not port.saved.unfinished
    await fabric.remove(port)


async def is_as_before(fabric: Fabric, attached: str, before: dict[str, object], what: str) -> None:
    """Descriptors that came by a connection are closed by a thread, and the loop may have something to do yet."""

    def is_so() -> bool:
        return not differences(before, state_of_the_machine(fabric, attached))

    with suppress(AssertionError):
        await asyncio.to_thread(wait_until, is_so, 10, what)
    found = differences(before, state_of_the_machine(fabric, attached))
    assert not found, f"{what}: {found}"
