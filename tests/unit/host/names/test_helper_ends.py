"""A names helper that ends at any moment ends nothing else."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

from vnicd.host.names.helper import Helper


def test_it_ends_right_when_it_is_to_be_handed_its_new_log() -> None:
    """Or the hosting daemon, which looks after it, would end with it."""

    async def run() -> list[str]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child: Any = SimpleNamespace(pid=1, kill=lambda: None)
        told: list[str] = []

        def end(why: str) -> None:
            told.append(why)
            helper.close()

        helper = Helper(ours, child, end)
        helper.log = (0, 0)
        theirs.close()
        helper.look("info")
        helper.look("info")
        return told

    assert asyncio.run(run()) == ["has ended"]
