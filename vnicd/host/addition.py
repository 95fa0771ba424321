"""Adds a partition: all that is done for it, from top to bottom, and how each step is undone."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vnicd.errors import TimedOut, VnicdError
from vnicd.host.broker.service import BrokerService
from vnicd.host.operation import Step, carry_out
from vnicd.host.partitions import kernel_ops
from vnicd.host.partitions.executor import Executor
from vnicd.host.partitions.leftovers import Leftovers
from vnicd.host.ports.port import Following, Port, Ports
from vnicd.host.uplink.controller import Uplink
from vnicd.kernel import tap
from vnicd.kernel.limits import descriptors
from vnicd.spec.partition import PartitionSpec

REGISTER_TIMEOUT_S = 10.0
"""Seconds that a new partition daemon has to register."""


DESCRIPTORS = 48
"""That an addition may take, most of them for a moment, and several at once: what there is keeps what it has."""


@dataclass(frozen=True)
class Parts:
    """What of a fabric an addition works with."""

    ports: Ports
    actions: Executor
    leftovers: Leftovers
    uplink: Uplink
    broker: BrokerService
    forget: Callable[[Port], None]
    """Takes a port out of the fabric, and out of the state."""


class Addition:
    """The addition of one partition. The uplink gives it what its spec lacks, unless that `is_whole`.

    What is there before the state says that the partition is being added is not ours. From then on the state names it
    as unfinished until it is a member, or until nothing is left of it. So a hosting daemon that is killed meanwhile
    leaves nothing: the next one takes away all that the state names.
    """

    def __init__(self, parts: Parts, spec: PartitionSpec, is_whole: bool = False) -> None:
        self.parts = parts
        self.spec = spec
        self.is_whole = is_whole
        self.reserved: Port | None = None

    async def run(self) -> Port:
        """Make the partition; when it can't be finished, all that was made of it is taken away again."""
        await carry_out(f"partition {self.spec.name}", self.steps(), self._give_up)
        if self.spec.owner:  # that of a runtime, whose containers wait for it, and come one after the other
            self.parts.actions.supervisor.prepare()
        return self.port

    def steps(self) -> list[Step]:
        namespace = Step("make its namespace", self._make_namespace, self._delete_namespace)
        return [
            Step("reserve a port", self._reserve, self._forget, waits=True),
            Step("check that its place is free", self._check_free),
            Step("write the state: it is being added", self._save),
            *([namespace] if self.spec.owns_netns else []),
            # The kernel lets us wait for an interface for as long as a daemon takes to start; so both at once.
            Step("start its daemon", self._start_daemon, self._unmake),
            Step("write the state: its process", self._save),
            Step("make its interface", self._make_interface),
            Step("wait until its daemon is up", self._wait_for_daemon, waits=True),
            Step("let the uplink admit it", self.parts.uplink.admit, self._look_again),
            Step("write the state: it is a member", self._enter, self._save),
            Step("let the broker serve it", self.parts.broker.follow),
        ]

    @property
    def port(self) -> Port:
        assert self.reserved is not None, "to reserve it is the first step"
        return self.reserved

    def _give_up(self) -> None:
        if self.reserved is not None:
            self.reserved.begin_removal()

    async def _reserve(self) -> None:
        parts, spec = self.parts, self.spec
        descriptors.check_room(DESCRIPTORS, "a partition")
        if self.is_whole:
            parts.uplink.check(spec)
        async with parts.leftovers.room_for(spec):
            self.reserved = parts.ports.reserve(spec if self.is_whole else parts.uplink.complete(spec))
        self.reserved.shall_follow(Following(parts.uplink.mtu(self.reserved.spec)))

    async def _forget(self) -> None:
        self.parts.forget(self.port)

    async def _check_free(self) -> None:
        self.port.moves_in(await self.parts.actions.kernel(lambda: kernel_ops.check_free(self.port.spec)))

    async def _save(self) -> None:
        self.parts.actions.save()

    async def _make_namespace(self) -> None:
        await self.parts.actions.make_namespace(self.port)

    async def _delete_namespace(self) -> None:
        await self.parts.actions.delete_namespace(self.port)

    async def _start_daemon(self) -> None:
        await self.parts.actions.start_daemon(self.port)

    async def _make_interface(self) -> None:
        """Unless its daemon was so quick that it was made for that already (Reconciler.give_tap)."""
        async with self.port.lock:
            if not tap.is_alive(self.port.tap):
                await self.parts.actions.make_interface(self.port)

    async def _unmake(self) -> None:
        """End its daemon, and delete its interface if there is one, whoever has had it made."""
        await self.parts.actions.stop_daemon(self.port)
        async with self.port.lock:
            if self.port.tap >= 0:
                await self.parts.actions.delete_interface(self.port)

    async def _wait_for_daemon(self) -> None:
        supervisor, name = self.parts.actions.supervisor, self.spec.name
        up = asyncio.ensure_future(self.port.up.wait())
        hopeless = asyncio.ensure_future(supervisor.hopeless(self.port))
        deaths = supervisor.deaths_of(self.port)
        lacking = asyncio.ensure_future(deaths.is_lacking.wait())
        ends: set[asyncio.Future[Any]] = {up, hopeless, lacking}
        try:
            await asyncio.wait(ends, timeout=REGISTER_TIMEOUT_S, return_when=FIRST_COMPLETED)
            if up.done():
                return
            if lacking.done():
                raise deaths.lack_kind(f"the hosting daemon can't serve partition {name}: {deaths.lack}")
            if hopeless.done():
                why = hopeless.result() or "it dies without a word"
                raise VnicdError(f"the daemon of partition {name} can't start: {why}")
            why = await supervisor.last_words(self.port)
            text = f"the daemon of partition {name} did not start in {REGISTER_TIMEOUT_S:g} s"
            raise TimedOut(f"{text}: {why}" if why else text)
        finally:
            for end in ends:
                end.cancel()

    async def _look_again(self) -> None:
        self.parts.uplink.look_again()

    async def _enter(self) -> None:
        self.port.added()
        self.parts.actions.save()
        place = self.port.location  # somebody else may have had its addresses, or itself another MAC
        await self.parts.actions.kernel(lambda: kernel_ops.announce_addresses(place, place.spec.addresses))
