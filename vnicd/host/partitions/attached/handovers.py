"""Follows interfaces that are handed over: made in one namespace, moved by somebody else to the one they belong in.

Theory of operation. Docker tells the driver of a network before the namespace of a container is there. So the interface
is made bare where Docker runs; Docker moves it, names it, gives it addresses and sets it up, and moves it back when the
container ends. It tells nobody of that. The TAP's descriptor leads to the interface wherever it is, and the kernel
tells the namespace that it is in: while one is under way that is asked 20 times a second, and else at each tick.

An interface has arrived when it is in another namespace and was set up there. From then on its partition is one like
any other that is attached: its namespace is known by its identity, and if its interface is lost, it is made anew
there, with what it had. One that nobody takes, or that was moved back and left, ends with its partition after a while.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from vnicd.errors import Invalid, VnicdError
from vnicd.host.partitions import kernel_ops
from vnicd.host.partitions.attached import tenants
from vnicd.host.partitions.executor import Executor
from vnicd.host.ports.port import Port, Ports
from vnicd.kernel import netns, tap
from vnicd.kernel.drift import seen
from vnicd.kernel.netns import Home
from vnicd.process.ticks import until_tick
from vnicd.spec.drift import Seen
from vnicd.spec.partition import PartitionSpec, is_ifname

log = logging.getLogger(__name__)

PAUSE_S = 0.05
"""Seconds between two looks while an interface is under way."""

TAKE_TIMEOUT_S = 120.0
"""Seconds after which an interface that nobody takes ends."""

RETURN_TIMEOUT_S = 10.0
"""The same for one that was moved back: its container is no more, and who moves it removes the partition next."""

SET_UP_TIMEOUT_S = 5.0
"""Seconds that who has moved an interface has to set it up; after that it is taken as it is."""


class Handovers:
    """`moved()` is called when an interface is in another namespace, `expire(port)` when nobody takes one."""

    def __init__(
        self,
        ports: Ports,
        actions: Executor,
        moved: Callable[[], object],
        expire: Callable[[Port], Awaitable[None]],
    ) -> None:
        self.ports = ports
        self.actions = actions
        self.moved = moved
        self.expire = expire
        self.news = asyncio.Event()
        self.is_moved = False
        """Since the state was written."""
        self.deadlines: WeakKeyDictionary[Port, float] = WeakKeyDictionary()
        """Until when an interface waits where it was made, by the clock of the event loop."""
        self.away: WeakKeyDictionary[Port, float] = WeakKeyDictionary()
        """Since when one is elsewhere, and not set up yet."""

    def look_soon(self) -> None:
        """A partition has come."""
        self.news.set()

    async def watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(until_tick()):
                    await self.news.wait()
            self.news.clear()
            handed = [port for port in self.ports if port.spec.handover]
            is_under_way = [await self._look(port) for port in handed]
            is_kept = [self._keep(port) for port in handed]
            if self.is_moved or any(is_kept):  # once for all, as it writes the state
                self.is_moved = False
                self.moved()
            if any(is_under_way):
                self.news.set()
                await asyncio.sleep(PAUSE_S)

    async def _look(self, port: Port) -> bool:
        """Whether it is to be looked at again soon."""
        if not port.is_member or port.tap < 0 or port.home is None or port.lock.locked():
            return False
        where, now = tap.whereabouts(port.tap), asyncio.get_running_loop().time()
        if where is None:
            return False  # its namespace has gone, or somebody has deleted it, which is found out elsewhere
        try:
            if where != port.home.identity:
                await self._follow(port, where, now)
            elif port.is_under_way and now > self.deadlines.setdefault(port, now + TAKE_TIMEOUT_S):
                del self.deadlines[port]
                await self.expire(port)
        except (VnicdError, OSError, RuntimeError, MemoryError) as error:
            log.debug("the interface of partition %s can't be followed: %s", port.spec.name, error)
        # A container's root may move one that has arrived, and is followed at leisure.
        return port.is_under_way

    async def _follow(self, port: Port, where: netns.Identity, now: float) -> None:
        if port.birthplace is not None and where == port.birthplace.identity:
            port.moves_in(port.birthplace)
            port.change_spec(replace(port.spec, ifname=_name(port)))
            self.away.pop(port, None)
            self.deadlines[port] = now + RETURN_TIMEOUT_S
            self.is_moved = True
            return
        is_late = now - self.away.setdefault(port, now) > SET_UP_TIMEOUT_S
        async with port.lock:
            arrival = await self.actions.kernel(lambda: _arrival(port.tap))
            if arrival is None or not port.is_member:
                return
            home, path, found = arrival
            if not found.is_up and not is_late:
                return
            if port.is_under_way:
                log.info("the interface of partition %s has arrived in %s", port.spec.name, path)
            port.moves_in(home)
            port.change_spec(changed(port.spec, netns=path, ifname=_name(port), gateways=[]))
            del self.away[port]
            self.deadlines.pop(port, None)
        self.is_moved = True
        place = port.location  # somebody else may have had its addresses before
        await self.actions.kernel(lambda: kernel_ops.announce_addresses(place, place.spec.addresses))

    def _keep(self, port: Port) -> bool:
        """Note what others have changed on purpose, in case that it is made anew; whether there is anything new."""
        is_there = port.is_member and not port.is_under_way and port not in self.away
        if not is_there or port.seen is None or not port.seen.is_up or port.lock.locked():
            return False
        kept = changed(port.spec, ifname=_name(port), gateways=list(kept_gateways(port.spec, port.seen)))
        is_new = kept != port.spec
        port.change_spec(kept)
        return is_new


def changed(spec: PartitionSpec, **words: Any) -> PartitionSpec:
    """A spec with other words, as they are in JSON; the old one when its next reader would not take them.

    What is in a container is its root's.
    """
    try:
        return PartitionSpec.from_json({**spec.to_json(), **words})
    except Invalid:
        return replace(spec, gateways=()) if "gateways" in words else spec


def kept_gateways(spec: PartitionSpec, now: Seen) -> tuple[str, ...]:
    """The gateways that a partition is to have from now on, whose interface has these.

    One that it has lost stays its own, unless there is another default route: it was lost by accident.
    """
    found = {ipaddress.ip_address(gateway).version: gateway for gateway in now.gateways}
    others = {route.version for route in now.routes if not route.is_advertised}
    for gateway in spec.gateways:
        version = ipaddress.ip_address(gateway).version
        if version not in others or not now.knows_routes:
            found.setdefault(version, gateway)
    return tuple(found[version] for version in sorted(found))


def _name(port: Port) -> str:
    """What the interface is called by now, as far as that can be said."""
    name = tap.name_of(port.tap)
    return name if is_ifname(name) else port.spec.ifname


def _arrival(fd: int) -> tuple[Home, str, Seen] | None:
    """What the namespace is known by that the device behind the fd is in, a path to it, and what the device has there.

    None when there is no device any more. In the kernel thread.
    """
    place = tap.namespace(fd)
    try:
        path = f"/proc/self/fd/{place}"
        home = netns.home(path)
        name = tap.name_of(fd)
        found = netns.inside(path, lambda: seen.look(name))
    finally:
        os.close(place)
    if found is None:
        return None
    return home, tenants.best_path(home.identity) or path, found
