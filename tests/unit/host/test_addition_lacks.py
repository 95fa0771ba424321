"""An addition ends at once, and with the reason, when the hosting daemon has too little of something to go on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vnicd.config import Options, Paths
from vnicd.errors import Resources
from vnicd.host.addition import Addition
from vnicd.host.fabric import Fabric
from vnicd.host.links.manager import Link, State
from vnicd.host.links.relay import is_lack
from vnicd.host.ports.channel import Channel
from vnicd.spec.partition import make_partition

IDENT = 5


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        ("mmap: Cannot allocate memory", True),
        ("Too many open files", True),
        ("not the memory of a link", False),
        ("unexpected", False),
        ("", False),
    ],
)
def test_what_counts_as_too_little(error: str, lacks: bool) -> None:
    assert is_lack(error) == lacks


def no_link(fabric: Fabric) -> None:
    link = Link((0, 1), IDENT, State.ATTACHING, 0.0)
    fabric.relay.links.links[0, 1] = fabric.relay.links.by_id[IDENT] = link
    fabric.relay._own_reply({"op": "attached", "link_id": IDENT, "error": "mmap: Cannot allocate memory"}, ())


def no_hello(fabric: Fabric) -> None:
    message: dict[str, Any] = {"op": "hello", "name": "blue"}
    fabric.registrar._tell_lack(cast(Channel, SimpleNamespace(pid=0)), message, MemoryError())


@pytest.mark.parametrize("happens", [no_link, no_hello])
def test_an_addition_does_not_wait_in_vain(tmp_path: Path, happens: Any) -> None:
    async def work() -> None:
        fabric = Fabric(Paths(tmp_path), Options(), lambda: None)
        addition = Addition(fabric.parts, make_partition("blue"))
        addition.reserved = fabric.ports.reserve(addition.spec)
        fabric.supervisor.owns = lambda port, pid: True  # type: ignore[method-assign]
        waiting = asyncio.ensure_future(addition._wait_for_daemon())
        asyncio.get_running_loop().call_soon(happens, fabric)
        with pytest.raises(Resources, match="can't serve partition blue"):
            await asyncio.wait_for(waiting, 5)
        fabric.actions.close()

    asyncio.run(work())
