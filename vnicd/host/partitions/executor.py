"""The executor: carries out the planner's actions one by one, never half, by the kernel thread and the supervisor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vnicd.errors import VnicdError
from vnicd.host.links.relay import HostRelay
from vnicd.host.partitions import kernel_ops
from vnicd.host.partitions.supervisor import Supervisor
from vnicd.host.ports.port import Following, Port
from vnicd.native import directory
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

    async def execute(self, actions: list[Action], port: Port, done: list[Action] | None = None) -> None:
        """Carry out actions in order, noting in `done` each that has succeeded.

        A step that has begun is finished also when we are cancelled, so that `done` always tells the truth.
        """
        for action in actions:
            step = asyncio.ensure_future(self._step(action.step, port))
            try:
                await asyncio.shield(step)
            except asyncio.CancelledError:
                await asyncio.wait([step])
                if done is not None and step.exception() is None:
                    done.append(action)
                raise
            if done is not None:
                done.append(action)

    async def undo(self, done: list[Action], port: Port) -> None:
        """Take back what was done, the last first; a step that fails keeps no other from being undone."""
        for action in reversed(done):
            if action.step.undo is None:
                continue
            try:
                await self._step(action.step.undo, port)
            except (VnicdError, OSError) as error:
                log.error("partition %s: %s: %s", port.spec.name, action.step.undo.value, error)

    async def kernel(self, work: Callable[[], T]) -> T:
        """Do something with the kernel in the one thread for that, so that the control socket never waits."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    async def end_daemon(self, port: Port) -> None:
        """End the daemon of a port; nothing happens if it has none."""
        await self.supervisor.end(port)

    async def _step(self, step: Step, port: Port) -> None:
        spec = port.spec
        sign = kernel_ops.mark(self.supervisor.paths.root, spec.name)
        if step is Step.MAKE_NAMESPACE:
            await self.kernel(lambda: kernel_ops.make_namespace(spec, sign))
        elif step is Step.MAKE_INTERFACE:
            port.close_tap()
            port.follows(Following(port.following.mtu))
            adopt = not port.is_being_added
            fd = await self.kernel(lambda: kernel_ops.make_interface(spec, port.following.mtu, adopt, sign))
            port.take_tap(fd)
        elif step is Step.START_DAEMON:
            self.relay.announce(port, directory.DOWN)  # its MAC, which its loop needs from the beginning
            self.supervisor.start(port)
            self.save()
        elif step is Step.STOP_DAEMON:
            await self.end_daemon(port)
            self.supervisor.withdraw(port)
            self.supervisor.forget(port)
        elif step is Step.DELETE_INTERFACE:
            await self.kernel(lambda: kernel_ops.delete_interface(spec, port.tap))
            port.close_tap()
        elif step is Step.DELETE_NAMESPACE:
            await self.kernel(lambda: kernel_ops.delete_namespace(spec))
