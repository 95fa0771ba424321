"""A partition whose namespace has ended is ended once, and not behind the back of who adds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from vnicd.config import Options, Paths
from vnicd.errors import NoNamespace
from vnicd.host.addition import Addition
from vnicd.host.fabric import Fabric
from vnicd.host.partitions import kernel_ops
from vnicd.host.ports.port import Port, Stage
from vnicd.kernel.netns import Home
from vnicd.spec.partition import make_partition

SPEC = make_partition("blue", netns="/proc/4194304/ns/net", mac="02:00:00:00:00:01")


@asynccontextmanager
async def fabric_in(root: Path) -> AsyncIterator[Fabric]:
    fabric = Fabric(Paths(root), Options(), lambda: None)
    try:
        yield fabric
    finally:
        await fabric.reconciler.stop()
        fabric.actions.close()


def test_a_removal_that_is_under_way_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another partition may have the name and the number when the second one would begin."""
    discarded: list[Port] = []

    async def discard(port: Port) -> None:
        discarded.append(port)

    async def run() -> None:
        async with fabric_in(tmp_path) as fabric:
            port = fabric.ports.insert(Port(SPEC, 1, Stage.MEMBER, home=Home(4, 1, 1)))
            monkeypatch.setattr(fabric, "_discard", discard)

            def observe(*_: object) -> None:
                port.begin_removal()  # the request comes while the reconciler looks
                raise NoNamespace("it is gone")

            monkeypatch.setattr(kernel_ops, "observe", observe)
            await fabric.reconciler.revive(port)

    asyncio.run(run())
    assert discarded == []


def test_an_addition_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with fabric_in(tmp_path) as fabric:
            addition = Addition(fabric.parts, SPEC)
            port = addition.reserved = fabric.ports.reserve(SPEC)
            port.moves_in(Home(4, 1, 1))
            waiting = asyncio.ensure_future(addition._wait_for_daemon())
            await fabric.reconciler.revive(port)
            with pytest.raises(NoNamespace, match="its namespace is gone"):
                await asyncio.wait_for(waiting, 5)
            assert fabric.ports.by_name == {"blue": port}
            assert port.is_being_added

    asyncio.run(run())
