"""A fabric at run time: partitions are added, removed, kept alive, and found again after a restart of the host."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from vnicd import directory
from vnicd.config import Options, Paths
from vnicd.daemon import machine, state
from vnicd.daemon.ports import Port, Ports
from vnicd.daemon.registrar import Registrar
from vnicd.daemon.supervisor import Supervisor
from vnicd.daemon.switch import Switch
from vnicd.errors import Busy, NotRunning, TimedOut, VnicdError
from vnicd.kernel import process
from vnicd.kernel.hugepages import Overcommit
from vnicd.model import PartitionSpec
from vnicd.plan import Action, Step, plan

log = logging.getLogger(__name__)
T = TypeVar("T")

REGISTRATION = 10.0
"""Seconds that a new partition daemon has to register."""

RETURN = 3.0
"""Seconds that daemons which outlived a hosting daemon have to come back before `up` goes on without them."""

GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""


class Fabric:
    def __init__(self, paths: Paths, options: Options) -> None:
        self.paths = paths
        self.options = options
        self.ports = Ports(str(paths.root))
        self.switch = Switch(self.ports, options, self._port_up)
        self.supervisor = Supervisor(paths, self._daemon_died)
        self.registrar = Registrar(paths, options, self.ports, self.switch, self._lost_tap)
        self.overcommit = Overcommit()
        self.kernel = ThreadPoolExecutor(1, "kernel")
        self.ready = False
        self.down = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.changes: set[asyncio.Task[Any]] = set()
        """Requests that make or remove a partition."""

    # --------------------------------------------------------------------------------- start and end

    async def start(self, revive: bool = True) -> None:
        """Take up what an earlier hosting daemon has left and, unless it is to be removed at once, revive it."""
        self.switch.start()
        found = [self._remember(saved) for saved in state.load(self.paths.state)]
        if not revive:
            return
        self.registrar.listen()
        for port in [port for port in found if port.adding]:
            await self._discard(port)
        alive = [port for port in found if port.pid and not port.adding]
        if alive:
            await asyncio.wait([self._task(port.up.wait()) for port in alive], timeout=RETURN)
        dead = [port for port in found if not port.adding and not port.pid]
        for port in dead:
            await self._revive(port)
        started = [self._task(port.up.wait()) for port in dead if port.pid]
        if started:
            await asyncio.wait(started, timeout=REGISTRATION)
        self.ready = True

    def _remember(self, saved: state.Saved) -> Port:
        """A port of an earlier hosting daemon, and its daemon if that still lives."""
        port = self.ports.insert(Port(saved.spec, saved.port, adding=saved.adding))
        pidfd = process.open_process(saved.pid, saved.started) if saved.pid else None
        if pidfd is not None:
            port.pid, port.started = saved.pid, saved.started
            self.supervisor.adopt(port, pidfd)
        self.switch.announce(port, directory.LIVE if pidfd is not None else directory.DOWN)
        return port

    async def take_down(self) -> None:
        """Remove all partitions and every file of ours."""
        self.down = True
        unfinished = self.changes | self.tasks
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
        await asyncio.gather(*(self._discard(port) for port in list(self.ports)))
        self.overcommit.release()

    def stop(self) -> None:
        """End the hosting daemon; the partition daemons go on unless the fabric was taken down."""
        for task in self.tasks:
            task.cancel()
        for port in self.ports:
            port.removing = True
        self.registrar.close()
        self.switch.stop()
        self.kernel.shutdown()
        self.paths.registration.unlink(missing_ok=True)
        self.paths.control.unlink(missing_ok=True)
        if self.down:
            remove_files(self.paths)

    # ------------------------------------------------------------------------------- add and remove

    async def add(self, spec: PartitionSpec) -> Port:
        """Make a partition; when it can't be finished, all that was made of it is taken away again."""
        port = self.ports.reserve(spec)
        done: list[Action] = []
        change = self._begin_change()
        try:
            self._save()
            await self._execute(plan({port.spec.name: port.spec}, {}), port, done)
            await asyncio.wait_for(port.up.wait(), REGISTRATION)
            port.adding = False
            self._save()
        except BaseException as error:
            port.removing = True
            await self._undo(done, port)
            self._forget(port)
            if isinstance(error, asyncio.CancelledError) and self.down:
                raise NotRunning("the fabric is being taken down") from error
            if isinstance(error, TimeoutError):
                raise TimedOut(
                    f"the daemon of partition {spec.name} did not start in {REGISTRATION:g} s"
                ) from error
            raise
        finally:
            self.changes.discard(change)
        return port

    def _begin_change(self) -> asyncio.Task[Any]:
        """Note the running request as one that take_down() has to end first."""
        if self.down:
            raise NotRunning("the fabric is being taken down")
        task = asyncio.current_task()
        assert task is not None
        self.changes.add(task)
        return task

    async def remove(self, port: Port) -> None:
        """Take a partition away; NotFound when another request is at it already."""
        if port.removing or port.adding:
            raise Busy(f"the partition {port.spec.name} is being {'removed' if port.removing else 'added'}")
        change = self._begin_change()
        try:
            await self._discard(port)
        finally:
            self.changes.discard(change)

    async def _discard(self, port: Port) -> None:
        """Take a partition away, whatever there is of it."""
        port.removing = True
        actual = await self._kernel(lambda: machine.leftover(port.spec))
        ours = port.tap >= 0 or not port.adding or port.spec.owns_netns
        actual = replace(actual, interface=actual.interface and ours, daemon=port.pidfd >= 0)
        await self._execute(plan({}, {port.spec.name: actual}), port, [])
        self._forget(port)

    def _forget(self, port: Port) -> None:
        """The partition is no more: peers, directory, state and log."""
        self.switch.withdraw(port)
        if port.channel is not None:
            port.channel.close()
        port.close_tap()
        port.counters.close()
        self.ports.discard(port)
        self.paths.log(port.spec.name).unlink(missing_ok=True)
        try:
            self._save()
        except VnicdError as error:  # the next change that can be written makes up for it
            log.error("%s", error.line())

    # --------------------------------------------------------------------------------------- actions

    async def _execute(self, actions: list[Action], port: Port, done: list[Action]) -> None:
        """Carry out actions in order, noting in `done` each that has succeeded."""
        for action in actions:
            await self._step(action.step, port)
            done.append(action)

    async def _undo(self, done: list[Action], port: Port) -> None:
        """Take back what was done, the last first; a step that fails does not keep the others from being undone."""
        for action in reversed(done):
            if action.step.undo is not None:
                try:
                    await self._step(action.step.undo, port)
                except (VnicdError, OSError) as error:
                    log.error("partition %s: %s: %s", port.spec.name, action.step.undo.value, error)

    async def _step(self, step: Step, port: Port) -> None:
        spec = port.spec
        if step is Step.MAKE_NAMESPACE:
            await self._kernel(lambda: machine.make_namespace(spec))
        elif step is Step.MAKE_INTERFACE:
            port.close_tap()
            port.tap = await self._kernel(lambda: machine.make_interface(spec, adopt=not port.adding))
        elif step is Step.START_DAEMON:
            self.switch.announce(port, directory.DOWN)  # its MAC, which its loop needs from the beginning
            self.supervisor.start(port)
            self._save()
        elif step is Step.STOP_DAEMON:
            if port.pidfd < 0:
                return
            pidfd = os.dup(port.pidfd)
            await asyncio.get_running_loop().run_in_executor(None, process.end, pidfd, GRACE)
            os.close(pidfd)
            self.supervisor.forget(port)
        elif step is Step.DELETE_INTERFACE:
            port.close_tap()
            await self._kernel(lambda: machine.delete_interface(spec))
        elif step is Step.DELETE_NAMESPACE:
            await self._kernel(lambda: machine.delete_namespace(spec))

    async def _kernel(self, work: Callable[[], T]) -> T:
        """Do something with the kernel in the one thread for that, so that the control socket never waits."""
        return await asyncio.get_running_loop().run_in_executor(self.kernel, work)

    def _save(self) -> None:
        if not self.down:
            state.save(self.paths.state, [port.saved for port in self.ports])

    # ---------------------------------------------------------------------------------------- events

    def _port_up(self, port: Port) -> None:
        port.state, port.reason = "up", ""
        self.switch.announce(port, directory.LIVE)
        port.up.set()

    def _daemon_died(self, port: Port) -> None:
        """A partition daemon has ended by itself: its peers are told, and it is started again."""
        self.switch.links.port_down(port.number)
        if port.removing or self.down:
            return
        port.state = "down"
        port.restarts += 1
        self.switch.announce(port, directory.DOWN)
        log.warning("the daemon of partition %s has died", port.spec.name)
        self._task(self._revive(port, self.supervisor.delay(port)))

    def _lost_tap(self, port: Port) -> None:
        """The interface was deleted from outside: end the daemon, and its restart makes the interface anew."""
        log.warning("the interface of partition %s is gone", port.spec.name)
        if port.pidfd >= 0:
            self._task(asyncio.to_thread(process.end, port.pidfd, GRACE))

    async def _revive(self, port: Port, delay: float = 0.0) -> None:
        """Bring a partition back to what it should be, and try again when that fails."""
        await asyncio.sleep(delay)
        if port.removing:
            return
        port.up.clear()
        try:
            actual = await self._kernel(lambda: machine.observe(port.spec, port.tap, port.pidfd >= 0))
            await self._execute(plan({port.spec.name: port.spec}, {port.spec.name: actual}), port, [])
        except (VnicdError, OSError) as error:
            port.state = "failed"
            port.reason = error.line() if isinstance(error, VnicdError) else str(error)
            log.error("partition %s can't be brought back: %s", port.spec.name, port.reason)
            self._task(self._revive(port, max(1.0, self.supervisor.delay(port))))

    def _task(self, work: object) -> asyncio.Task[Any]:
        """Run a coroutine beside everything else; its errors are logged."""

        async def guarded() -> None:
            try:
                await work  # type: ignore[misc]
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("a task failed")

        task = asyncio.get_running_loop().create_task(guarded())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


def remove_files(paths: Paths) -> None:
    """Remove the fabric's files and, when nothing else is in it, its directory."""
    for path in (
        paths.state,
        paths.state.with_suffix(".new"),
        paths.host_lock,
        paths.control,
        paths.registration,
    ):
        path.unlink(missing_ok=True)
    shutil.rmtree(paths.logs, ignore_errors=True)
    try:
        paths.root.rmdir()
    except OSError:
        pass  # something of the user's is in it
