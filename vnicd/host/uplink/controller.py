"""The uplink of a fabric at run time: set, cleared, shown, and following its NIC.

Theory of operation. Whatever changes - a user's word, a partition, the NIC - ends in sync(): the kernel thread
brings the machine in line (nic_resources.py), then this thread tells the loop, the directory and the partitions'
interfaces what follows. One sync runs at a time, and what is asked for meanwhile is one more. An uplink whose NIC
is gone stays set, and is taken up again when a NIC of that name is there. What others take away of it is put back
(watch.py tells when to look), and rules of others that stand in its way are named and stay.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from vnicd.config import Options
from vnicd.errors import Invalid, NotFound, VnicdError
from vnicd.host.links.relay import HostRelay
from vnicd.host.partitions import kernel_ops
from vnicd.host.ports.port import Following, Ports
from vnicd.host.uplink import published
from vnicd.host.uplink.nic_resources import NicResources, Wanted, clean
from vnicd.host.uplink.repairs import Repairs
from vnicd.host.uplink.watch import Watch
from vnicd.kernel import nic
from vnicd.kernel.firewall import nftables
from vnicd.kernel.nic import Facts
from vnicd.native import directory
from vnicd.spec.obstacles import mtu_obstacle
from vnicd.spec.partition import MTU_DEFAULT, PartitionSpec, check_mtu
from vnicd.spec.pool import pool_of
from vnicd.spec.uplink import UplinkSpec, add_published

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_S, LONGEST_RETRY_S = 1.0, 10.0
"""Seconds after which a sync that failed is tried again, and that become twice as many each time."""


class Kernel(Protocol):
    """Runs blocking work in the one thread for that."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


class Uplink:
    def __init__(self, fabric: str, ports: Ports, relay: HostRelay, kernel: Kernel, options: Options) -> None:
        self.ports = ports
        self.relay = relay
        self.kernel = kernel
        self.options = options
        self.mac = ports.default_mac("host")
        self.table = nftables.TABLE_PREFIX + hashlib.blake2s(os.fsencode(fabric), digest_size=4).hexdigest()
        self.resources = NicResources(self.table)
        self.spec: UplinkSpec | None = None
        self.facts: Facts | None = None
        self.reason = ""
        """Why the last sync failed."""
        self.changing = asyncio.Lock()
        """Held by whoever sets or clears the uplink, until that is saved."""
        self.lock = asyncio.Lock()
        self.repairs = Repairs()
        self.watch = Watch(self.table, self._begin_sync, self._rules_lost, self._pause)
        self.retry_s = RETRY_S
        self.told = ""
        """The reason of a failure that is in the log already."""
        self.tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------ user's words

    async def set(self, spec: UplinkSpec, absent: bool = False) -> None:
        """Use this uplink instead of the one there was; when it can't be, all stays as it was.

        With `absent` its NIC may come later.
        """
        found = await self.kernel(lambda: nic.look(spec.nic)) if spec.nic else None
        if found is None and spec.nic and not absent:
            raise NotFound(f"there is no interface {spec.nic}", "list them with: ip link")
        if found is not None and (not found.ethernet or spec.nic == self.resources.ifname):
            raise Invalid(f"{spec.nic} is no network adapter", "name one of those in: ip link")
        spec = (
            replace(spec, nic=found.name) if found is not None else spec
        )  # it may have been an alternative name
        before = self.spec
        try:
            await self.sync(spec)
            self.watch.open()
        except BaseException:
            await (self.sync() if before is not None else self._drop())
            raise
        self.spec = spec

    async def published_obstacles(self, spec: UplinkSpec, partitions: Collection[str]) -> list[VnicdError]:
        """What is in the way of ports that are published from now on; `partitions` are those that there will be."""
        have = self.spec.publish if self.spec is not None else ()
        new = [each for each in spec.publish if each not in have]
        return await self.kernel(lambda: published.obstacles(new, partitions, self.table)) if new else []

    async def restore(self, spec: UplinkSpec) -> None:
        """Take up the uplink of an earlier hosting daemon, also while its NIC is not there."""
        self.spec = spec
        self.watch.open()
        await self._try_sync()

    async def clear(self) -> None:
        """Have no uplink any more; what was changed of the machine is put back. When that fails, it stays set."""
        self.watch.close()
        before, self.spec = self.spec, None
        try:
            await self._drop()
        except BaseException:
            self.spec = before
            if before is not None:
                with suppress(OSError):  # no descriptors: it is followed after the next attempt
                    self.watch.open()
            raise

    async def stop(self) -> None:
        """The hosting daemon ends, and the uplink stays set for the next one."""
        self.watch.close()
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

    def with_lengths(self, params: dict[str, Any]) -> dict[str, Any]:
        """A request for a partition whose addresses may lack their prefix lengths: they are those of the subnets."""
        words = params.get("addresses")
        if not isinstance(words, list):
            return params
        pool = pool_of(self.spec, self.options)
        return {**params, "addresses": [pool.with_length(text) for text in words]}

    def complete(self, spec: PartitionSpec) -> PartitionSpec:
        """A new partition's spec with what the network gives it; Invalid when it asks for too much."""
        self.check(spec)
        pool = pool_of(self.spec, self.options)
        if not spec.addresses:
            taken = [text for port in self.ports for text in port.spec.addresses]
            taken += self.facts.addresses if self.facts is not None else ()
            spec = replace(spec, addresses=pool.free(taken))
            if spec.mtu:
                check_mtu(spec.mtu, any(":" in address for address in spec.addresses))
        return replace(spec, gateways=spec.gateways or pool.routes(spec.addresses))

    def check(self, spec: PartitionSpec) -> None:
        """Invalid when a partition has a larger MTU than the uplink can have."""
        if self.facts is not None and (error := mtu_obstacle(spec, self.facts.name, self.facts.mtu)):
            raise error

    async def admit(self) -> None:
        """Make the uplink ready for a partition that was just added."""
        if self.spec is not None:
            await self.sync()

    def with_owned_ports(self, spec: UplinkSpec) -> UplinkSpec:
        """An uplink instead of the one that there is, with the published ports of partitions that have an owner."""
        owned = {port.spec.name for port in self.ports if port.spec.owner}
        others = self.spec.publish if self.spec is not None and spec.mode == "nat" else ()
        kept = [str(each) for each in others if each.name in owned]
        return replace(spec, publish=add_published(spec.publish, kept)) if kept else spec

    def publish_no_more(self, name: str) -> None:
        """A partition's ports are not published any more; to look again is next."""
        if self.spec is not None and any(each.name == name for each in self.spec.publish):
            kept = tuple(each for each in self.spec.publish if each.name != name)
            self.spec = replace(self.spec, publish=kept)

    def look_again(self) -> None:
        """A partition is no more, or has come back."""
        if self.spec is not None:
            self.watch.soon(0)

    async def mend(self) -> None:
        """Put back at once what others have taken away; what can't be is logged."""
        if self.spec is not None:
            await self._try_sync()

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
            self.reason = self.told = ""
            self.retry_s = RETRY_S
            self.facts = facts
            self.watch.nic = facts
            if self.resources.repaired and (line := self.repairs.note(self.resources.repaired)):
                log.warning("%s", line)
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
        has_own = not spec.is_like_nic
        own = tuple(map(str, spec.own_addresses))
        addresses = own if has_own else facts.addresses if facts else ()
        mac = self.mac if has_own or facts is None else facts.mac
        mtu = facts.mtu if facts is not None else MTU_DEFAULT
        self.relay.directory.put(0, directory.LIVE, mac, 1, mtu, addresses[: directory.MAX_ADDRESSES])
        flags = (0 if has_own else directory.UPLINK) | (directory.GUARD if spec.guards_addresses else 0)
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
            self.facts, self.reason, self.told = None, "", ""
            self.watch.nic, self.repairs = None, Repairs()
            loop = self.relay.loop
            self.relay.directory.set_flags(0)
            self.relay.directory.free(0)
            loop.set_tap(-1)
            loop.clear_uplink()
            await self.kernel(self.resources.release)
            await self.kernel(lambda: self._follow(None))

    # ------------------------------------------------------------------------------------------ events

    def lost_interface(self) -> None:
        """Port 0's interface was deleted from outside."""
        self.watch.soon(self._pause())

    def _pause(self) -> float:
        return self.repairs.pause()

    def _rules_lost(self) -> None:
        """Until our firewall table is back, what it protects is shut."""
        self._task(self._shut_loopback())

    async def _shut_loopback(self) -> None:
        await self.kernel(self.resources.shut_loopback)

    def _begin_sync(self) -> None:
        self._task(self._try_sync())

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _try_sync(self) -> None:
        try:
            await self.sync()
        except (VnicdError, OSError) as error:
            reason = self.reason or str(error)
            if reason != self.told:
                log.error("the uplink can't be made ready, and is tried again until it can: %s", reason)
            self.told = reason
            self.watch.soon(self.retry_s)
            self.retry_s = min(2 * self.retry_s, LONGEST_RETRY_S)

    @property
    def state(self) -> str:
        if self.reason:
            return "failed"
        if self.spec is not None and not self.spec.nic:
            return "up"
        if self.facts is None:
            return "absent"
        return "down" if not self.facts.up else "up" if self.facts.carrier else "no-carrier"

    @property
    def vnic_mac(self) -> str | None:
        """The MAC of port 0's interface."""
        if self.spec is None:
            return None
        return self.mac if not self.spec.is_like_nic or self.facts is None else self.facts.mac
