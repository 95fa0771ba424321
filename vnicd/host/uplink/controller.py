"""The uplink of a fabric at run time: set, cleared, shown, and following its NIC.

Theory of operation. Whatever changes - a user's word, a partition, the NIC - ends in sync(): the kernel thread
brings the machine in line (nic_resources.py), then this thread tells the loop, the directory and the partitions'
interfaces what follows. One sync runs at a time, and what is asked for meanwhile is one more. An uplink whose NIC
is gone stays set, and is taken up again when a NIC of that name is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, TypeVar

from vnicd.errors import Invalid, NotFound, VnicdError
from vnicd.host.links.relay import HostRelay
from vnicd.host.partitions import kernel_ops
from vnicd.host.ports.port import Following, Ports
from vnicd.host.uplink.nic_resources import NicResources, Wanted, clean
from vnicd.kernel import link_events, nic
from vnicd.kernel.nic import Facts
from vnicd.native import directory
from vnicd.spec.partition import PartitionSpec, check_mtu
from vnicd.spec.uplink import UplinkSpec, default_gateways, free_addresses

log = logging.getLogger(__name__)
T = TypeVar("T")

SETTLE = 0.05
"""Seconds that news of interfaces are gathered before they are looked at together."""

GLANCE = 0.3
"""Seconds between two looks at the NIC's carrier."""

RETRY = 1.0
"""Seconds after which a sync that failed is tried again."""


class Kernel(Protocol):
    """Runs blocking work in the one thread for that."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


class Uplink:
    def __init__(self, fabric: str, ports: Ports, relay: HostRelay, kernel: Kernel) -> None:
        self.ports = ports
        self.relay = relay
        self.kernel = kernel
        self.mac = ports.default_mac("host")
        self.table = "vnicd_" + hashlib.blake2s(os.fsencode(fabric), digest_size=4).hexdigest()
        self.resources = NicResources(self.table)
        self.spec: UplinkSpec | None = None
        self.facts: Facts | None = None
        self.reason = ""
        """Why the last sync failed."""
        self.changing = asyncio.Lock()
        """Held by whoever sets or clears the uplink, until that is saved."""
        self.lock = asyncio.Lock()
        self.watch: socket.socket | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.glance: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------ user's words

    async def set(self, spec: UplinkSpec, absent: bool = False) -> None:
        """Use this uplink instead of the one there was; when it can't be, all stays as it was.

        With `absent` its NIC may come later.
        """
        found = await self.kernel(lambda: nic.look(spec.nic))
        if found is None and not absent:
            raise NotFound(f"there is no interface {spec.nic}", "list them with: ip link")
        if found is not None and (not found.ethernet or spec.nic == self.resources.ifname):
            raise Invalid(f"{spec.nic} is no network adapter", "name one of those in: ip link")
        spec = (
            replace(spec, nic=found.name) if found is not None else spec
        )  # it may have been an alternative name
        before = self.spec
        try:
            await self.sync(spec)
        except BaseException:
            await (self.sync() if before is not None else self._drop())
            raise
        self.spec = spec
        self._listen()

    async def restore(self, spec: UplinkSpec) -> None:
        """Take up the uplink of an earlier hosting daemon, also while its NIC is not there."""
        self.spec = spec
        self._listen()
        await self._try_sync()

    async def clear(self) -> None:
        """Have no uplink any more; what was changed of the machine is put back."""
        self._ignore()
        self.spec = None
        await self._drop()

    async def stop(self) -> None:
        """The hosting daemon ends, and the uplink stays set for the next one."""
        self._ignore()
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        await self.kernel(self.resources.leave)

    async def clean(self) -> None:
        """Take away what a hosting daemon that is no more has left."""
        await self.kernel(lambda: clean(self.table))

    # ----------------------------------------------------------------------------------- for partitions

    def mtu(self, spec: PartitionSpec) -> int:
        return spec.effective_mtu(self.facts.mtu if self.facts is not None else None)

    def complete(self, spec: PartitionSpec) -> PartitionSpec:
        """A new partition's spec with what the uplink gives it; Invalid when it asks for too much."""
        self.check(spec)
        if self.spec is None or self.spec.mode != "nat":
            return spec
        if not spec.addresses:
            taken = [text for port in self.ports for text in port.spec.addresses]
            spec = replace(spec, addresses=free_addresses(self.spec, taken))
            if spec.mtu:
                check_mtu(spec.mtu, any(":" in address for address in spec.addresses))
        return replace(spec, gateways=spec.gateways or default_gateways(self.spec, spec.addresses))

    def check(self, spec: PartitionSpec) -> None:
        """Invalid when a partition has a larger MTU than the uplink can have."""
        if self.facts is not None and spec.mtu > self.facts.mtu:
            hint = f"give it at most {self.facts.mtu}, or make that of {self.facts.name} larger"
            raise Invalid(f"the MTU {spec.mtu} is larger than the uplink's", hint)

    async def admit(self) -> None:
        """Make the uplink ready for a partition that was just added."""
        if self.spec is not None:
            await self.sync()

    def look_again(self) -> None:
        """A partition is no more, or has come back."""
        if self.spec is not None:
            self._soon(0)

    # ----------------------------------------------------------------------------------------- syncing

    async def sync(self, wish: UplinkSpec | None = None) -> None:
        """Bring all in line with the uplink, or with a wish that becomes it if this succeeds."""
        async with self.lock:
            spec = wish or self.spec
            if spec is None:
                return
            wanted = self._wanted(spec)
            try:
                facts = await self.kernel(lambda: self.resources.bring(wanted))
            except (VnicdError, OSError) as error:
                self.reason = error.line() if isinstance(error, VnicdError) else str(error)
                raise
            self.reason = ""
            self.facts = facts
            self._tell_loop(spec)
            await self.kernel(self.resources.close_retired)
            await self.kernel(lambda: self._follow(spec))

    def _wanted(self, spec: UplinkSpec) -> Wanted:
        ports = [port for port in self.ports if not port.is_being_removed]
        return Wanted(
            spec,
            self.mac,
            {port.number: port.spec.mac for port in ports},
            {port.number: port.spec.addresses for port in ports},
            {port.spec.name: port.number for port in ports},
        )

    def _tell_loop(self, spec: UplinkSpec) -> None:
        """The directory, port 0's interface, and the sockets."""
        loop, facts = self.relay.loop, self.facts
        is_nat = spec.mode == "nat"
        addresses = spec.subnets if is_nat else facts.addresses if facts else ()
        mac = self.mac if is_nat or facts is None else facts.mac
        mtu = facts.mtu if facts is not None else 1500
        self.relay.directory.put(0, directory.LIVE, mac, 1, mtu, addresses[: directory.MAX_ADDRESSES])
        flags = (0 if is_nat else directory.UPLINK) | (directory.GUARD if spec.guards_addresses else 0)
        self.relay.directory.set_flags(flags)
        loop.set_tap(self.resources.vnic)
        if self.resources.sockets and facts is not None:
            *rx_queues, transmit = self.resources.sockets
            loop.set_uplink(transmit, rx_queues, facts.mac, facts.mtu, spec.mode == "shared")
        else:
            loop.clear_uplink()
        for port in self.ports:
            self.relay.set_rate(port)

    def _follow(self, spec: UplinkSpec | None) -> None:
        """What the partitions' interfaces take over from the uplink. In the kernel thread."""
        propagate = spec is not None and spec.propagate_link
        carrier = not propagate or (self.facts is not None and self.facts.carrier)
        autoconf = (
            spec is None or spec.mode != "shared"
        )  # addresses that nobody registered are of no use there
        for port in list(self.ports):
            if port.tap < 0 or port.is_being_removed:
                continue
            wanted = Following(self.mtu(port.spec), carrier, autoconf)
            try:
                kernel_ops.follow(port.location, wanted, port.followed)
            except (VnicdError, OSError) as error:
                log.warning("partition %s can't follow the uplink: %s", port.spec.name, error)
            else:
                port.follows(wanted)

    async def _drop(self) -> None:
        """Let go of everything."""
        async with self.lock:
            self.facts, self.reason = None, ""
            loop = self.relay.loop
            self.relay.directory.set_flags(0)
            self.relay.directory.free(0)
            loop.set_tap(-1)
            loop.clear_uplink()
            await self.kernel(self.resources.release)
            await self.kernel(lambda: self._follow(None))

    # ------------------------------------------------------------------------------------------ events

    def _listen(self) -> None:
        if self.watch is None:
            self.watch = link_events.open_watch()
            asyncio.get_running_loop().add_reader(self.watch, self._news)
            self._soon(0)  # what happened before we listened
            self._glance()

    def _ignore(self) -> None:
        for timer in (self.timer, self.glance):
            if timer is not None:
                timer.cancel()
        self.timer = self.glance = None
        if self.watch is not None:
            asyncio.get_running_loop().remove_reader(self.watch)
            self.watch.close()
            self.watch = None

    def _glance(self) -> None:
        """Look for the cable, of which the kernel's news may be late."""
        if self.watch is None:
            return
        self.glance = asyncio.get_running_loop().call_later(GLANCE, self._glance)
        with suppress(OSError):  # there is no descriptor to ask with just now
            if (
                self.facts is not None
                and self.facts.up
                and link_events.has_link(self.facts.name) != self.facts.carrier
            ):
                self._soon(0)

    def _news(self) -> None:
        if self.watch is not None and link_events.drain(self.watch):
            self._soon(SETTLE)

    def lost_interface(self) -> None:
        """Port 0's interface was deleted from outside."""
        self._soon(0)

    def _soon(self, delay: float) -> None:
        if self.timer is None and self.watch is not None:
            self.timer = asyncio.get_running_loop().call_later(delay, self._begin_sync)

    def _begin_sync(self) -> None:
        self.timer = None
        task = asyncio.get_running_loop().create_task(self._try_sync())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _try_sync(self) -> None:
        try:
            await self.sync()
        except (VnicdError, OSError) as error:
            log.error("the uplink can't be made ready: %s", self.reason or error)
            self._soon(RETRY)

    @property
    def state(self) -> str:
        if self.reason:
            return "failed"
        if self.facts is None:
            return "absent"
        return "down" if not self.facts.up else "up" if self.facts.carrier else "no-carrier"

    @property
    def vnic_mac(self) -> str | None:
        """The MAC of port 0's interface."""
        if self.spec is None:
            return None
        return self.mac if self.spec.mode == "nat" or self.facts is None else self.facts.mac
