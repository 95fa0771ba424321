"""The reconciler: brings partitions back to what they should be when something of them died or was deleted.

Theory of operation. There is one way back for everything: the partition daemon ends (by itself, or because we
end it), its peers are told by the closing of their doorbells and by us, and then the planner compares what
should be with what there is and names what is missing: namespace, interface, daemon. What is in order stays. A
TAP persists without a daemon, with its addresses and routes, so the death of a daemon costs only the frames
that were in its hands.

A hosting daemon that was killed is not missed by partition daemons that have their links: they keep TAP,
counters and open links, look for a new hosting daemon every 100 ms, and bring all three along when they
register again. The new one knows from state.json which process serves which partition (by pid and start time,
so a reused pid deceives nobody), takes back what they bring, and revives those that did not live on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from weakref import WeakSet

from vnicd.errors import NoNamespace, VnicdError
from vnicd.host.partitions import kernel_ops
from vnicd.host.partitions.executor import Executor
from vnicd.host.ports.port import Port, Ports, PortState
from vnicd.kernel import netns, tap
from vnicd.process.ticks import until_tick
from vnicd.spec.plan import Step, plan

log = logging.getLogger(__name__)

LOST = "the interface of partition %s is gone"

RETRY = 1.0
"""Least seconds before a partition that could not be brought back is tried again."""


class Reconciler:
    """`save()` writes the state, `conclude(port)` ends a partition that has lost its namespace."""

    def __init__(
        self,
        ports: Ports,
        actions: Executor,
        save: Callable[[], None],
        conclude: Callable[[Port], Awaitable[None]],
    ) -> None:
        self.ports = ports
        self.save = save
        self.conclude = conclude
        self.actions = actions
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ending: set[int] = set()
        """Ports whose daemon is being ended."""
        self.untold: WeakSet[Port] = WeakSet()
        """Attached ports that have lost their interface, be it alone or with their namespace."""

    def start(self) -> None:
        self.task(self._watch_namespaces())

    async def stop(self) -> None:
        """Leave everything as it is from now on."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)

    def lost_tap(self, port: Port) -> None:
        """The interface was deleted from outside: end the daemon, and its restart makes the interface anew.

        Where the namespace is not ours, it may be that which is gone, and then the partition ends as it should.
        """
        if not self.replace(port):
            return
        if port.home is not None:
            self.untold.add(port)
        else:
            log.warning(LOST, port.spec.name)

    def replace(self, port: Port) -> bool:
        """End a daemon that we can't work with: its restart makes it one of ours. False when that is under way."""
        if port.number in self.ending:
            return False
        self.ending.add(port.number)
        self.task(self._end_daemon(port))
        return True

    async def restart(self, port: Port, timeout: float) -> None:
        """End a daemon, and wait until another one is up; TimeoutError after so many seconds."""
        port.revival_began()
        if port.number not in self.ending:
            self.ending.add(port.number)
            await self._end_daemon(port)
        await asyncio.wait_for(port.up.wait(), timeout)

    async def _end_daemon(self, port: Port) -> None:
        """`ending` has the port already, so that the end of its daemon surprises nobody."""
        try:
            await self.actions.end_daemon(port)
        finally:
            self.ending.discard(port.number)

    def remember(self) -> None:
        """A daemon that we did not start serves a partition: a next hosting daemon must know it."""
        try:
            self.save()
        except VnicdError as error:
            log.error("%s", error.line())

    def give_tap(self, port: Port, then: Callable[[], None]) -> None:
        """A new daemon is there for a partition whose interface we do not have in hand; do the rest when we have."""

        async def work() -> None:
            try:
                async with port.lock:
                    if port.is_being_removed:
                        return
                    have = await self.actions.kernel(lambda: kernel_ops.observe(port.location, True))
                    await self.actions.execute(
                        plan({port.spec.name: port.spec}, {port.spec.name: have}), port
                    )
            except (VnicdError, OSError) as error:
                log.warning("partition %s has no interface: %s", port.spec.name, error)
                await self.actions.end_daemon(port)  # and begin anew, as often as it takes
            else:
                then()

        self.task(work())

    async def revive(self, port: Port, delay: float = 0.0) -> None:
        """Make what is missing of a partition and start its daemon; try again later when that fails.

        A partition in a namespace of somebody else ends when that is no more.
        """
        await asyncio.sleep(delay)
        try:
            if not await self._revive(port):
                await self.conclude(port)
        except (VnicdError, OSError) as error:
            reason = error.line() if isinstance(error, VnicdError) else str(error)
            port.revival_failed(reason)
            log.error("partition %s can't be brought back: %s", port.spec.name, reason)
            self.task(self.revive(port, max(RETRY, self.actions.supervisor.delay(port))))

    async def _revive(self, port: Port) -> bool:
        """False when there is no namespace any more that it could be revived in."""
        async with port.lock:
            if port.is_being_removed:
                return True
            port.revival_began()
            have = port.pidfd >= 0
            try:
                actual = await self.actions.kernel(lambda: kernel_ops.observe(port.location, have))
            except NoNamespace:
                return False
            if port in self.untold:
                self.untold.discard(port)
                log.warning(LOST, port.spec.name)
            actions = plan({port.spec.name: port.spec}, {port.spec.name: actual})
            await self.actions.execute(actions, port)
            if any(action.step is Step.MAKE_NAMESPACE for action in actions):
                log.info("the namespace of partition %s is made anew", port.spec.name)
        return True

    def task(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside everything else; what goes wrong is logged."""

        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("a task failed")

        task = asyncio.get_running_loop().create_task(guarded())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _watch_namespaces(self) -> None:
        """A partition whose namespace has lost its name, or got another under it, is made anew there.

        Nobody tells us, so we look. Only where the namespace is ours: an attached one goes on without the path
        that it was found by.
        """
        while True:
            await asyncio.sleep(until_tick())
            for port in list(self.ports):
                if port.spec.owns_netns and _is_in_use(port) and _is_elsewhere(port) and self.replace(port):
                    log.warning("the namespace of partition %s is gone", port.spec.name)


def _is_in_use(port: Port) -> bool:
    return port.state is PortState.UP and not port.is_being_removed and port.tap >= 0


def _is_elsewhere(port: Port) -> bool:
    """Whether its interface is not in the namespace that has its name; not while that can't be looked at."""
    try:
        where = tap.whereabouts(port.tap)
    except OSError:
        return False
    return where is not None and where != netns.identity(port.spec.netns_path)
