"""The executor: carries out the planner's actions one by one, never half, by the kernel thread and the supervisor."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vnicd.errors import VnicdError
from vnicd.host.links.relay import HostRelay
from vnicd.host.partitions import kernel_ops
from vnicd.host.partitions.supervisor import Supervisor
from vnicd.host.ports.port import Following, Port
from vnicd.kernel import netns
from vnicd.native import directory
from vnicd.process import trace
from vnicd.spec.plan import Action, Step

log = logging.getLogger(__name__)
T = TypeVar("T")


class Executor:
    """`save()` writes the state; it is called when a daemon has been started, whose pid must not be forgotten."""

    def __init__(self, relay: HostRelay, supervisor: Supervisor, save: Callable[[], None]) -> None:
        self.relay = relay
        self.supervisor = supervisor
        self.save = save
        self.thread = ThreadPoolExecutor(1, "kernel")
        self.nursery = -1
        """A namespace that TAPs are made in before they move to somebody else's; -1 before the first."""

    async def execute(self, actions: list[Action], port: Port) -> None:
        """Carry out actions in order; one that has begun is finished also when we are cancelled."""
        for action in actions:
            step = asyncio.ensure_future(self._step(action.step, port))
            try:
                await asyncio.shield(step)
            except asyncio.CancelledError:
                await asyncio.wait([step])
                raise

    async def kernel(self, work: Callable[[], T]) -> T:
        """Do something with the kernel in the one thread for that, so that the control socket never waits."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    async def end_daemon(self, port: Port) -> None:
        """End the daemon of a port; nothing happens if it has none."""
        await self.supervisor.end(port)

    async def make_namespace(self, port: Port) -> None:
        adopt = not port.is_being_added
        await self.kernel(lambda: kernel_ops.make_namespace(port.spec, self._mark(port), adopt))

    async def make_interface(self, port: Port) -> None:
        """One that is there already is taken, unless the partition is new. One that we have in hand is elsewhere."""
        port.drop_tap()
        port.follows(Following(port.following.mtu))
        mtu, adopt = port.following.mtu, not port.is_being_added
        port.take_tap(
            await self.kernel(
                lambda: kernel_ops.make_interface(port.location, mtu, adopt, self._mark(port), self._nursery)
            )
        )

    async def start_daemon(self, port: Port) -> None:
        """Its pid is to be saved next."""
        self.relay.announce(port, directory.DOWN)  # its MAC, which its loop needs from the beginning
        self.supervisor.start(port)
        trace.note("daemon_started", port.number, text=port.spec.name)

    async def stop_daemon(self, port: Port) -> None:
        await self.end_daemon(port)
        self.supervisor.withdraw(port)
        self.supervisor.forget(port)

    async def delete_interface(self, port: Port) -> None:
        await self.kernel(lambda: kernel_ops.delete_interface(port.location))
        port.close_tap()

    async def delete_namespace(self, port: Port) -> None:
        await self.kernel(lambda: kernel_ops.delete_namespace(port.spec))

    async def _step(self, step: Step, port: Port) -> None:
        if step is Step.MAKE_NAMESPACE:
            await self.make_namespace(port)
        elif step is Step.MAKE_INTERFACE:
            await self.make_interface(port)
        elif step is Step.START_DAEMON:
            await self.start_daemon(port)
            try:
                self.save()
            except VnicdError as error:  # it runs, and is saved as soon as that can be
                log.error("%s", error.line())
        elif step is Step.STOP_DAEMON:
            await self.stop_daemon(port)
        elif step is Step.DELETE_INTERFACE:
            await self.delete_interface(port)
        elif step is Step.DELETE_NAMESPACE:
            await self.delete_namespace(port)

    def close(self) -> None:
        """When nothing is done any more."""
        self.thread.shutdown()
        if self.nursery >= 0:
            os.close(self.nursery)

    def _nursery(self) -> int:
        """In the kernel thread."""
        if self.nursery < 0:
            self.nursery = netns.unnamed()
        return self.nursery

    def _mark(self, port: Port) -> str:
        return kernel_ops.mark(self.supervisor.paths.root, port.spec.name)
