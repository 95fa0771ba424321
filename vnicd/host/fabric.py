"""A fabric at run time: partitions are added and removed, and found again after a restart of the hosting daemon."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from vnicd.config import Options, Paths
from vnicd.errors import NoNamespace, NotFound, NotRunning, TimedOut, VnicdError
from vnicd.host.addition import REGISTER_TIMEOUT_S, Addition, Parts
from vnicd.host.broker.service import BrokerService
from vnicd.host.links.progress import Progress
from vnicd.host.links.relay import HostRelay
from vnicd.host.names.service import NamesService
from vnicd.host.partitions import kernel_ops
from vnicd.host.partitions.attached import tenants
from vnicd.host.partitions.attached.attachments import Attachments
from vnicd.host.partitions.attached.handovers import Handovers
from vnicd.host.partitions.drift import DriftWatch
from vnicd.host.partitions.executor import Executor
from vnicd.host.partitions.leftovers import Leftovers, daemons
from vnicd.host.partitions.log_files import LogFiles
from vnicd.host.partitions.reconciler import Reconciler
from vnicd.host.partitions.registration import Registrar
from vnicd.host.partitions.supervisor import Children, Supervisor
from vnicd.host.partitions.systemd_units import Units
from vnicd.host.ports import mac_seed, state_file
from vnicd.host.ports.port import Following, Port, Ports, PortState, Stage
from vnicd.host.reconfigure import Reconfiguration
from vnicd.host.uplink.controller import Uplink
from vnicd.kernel import netns, process
from vnicd.kernel.limits import neighbours
from vnicd.kernel.limits.hugepages import Overcommit
from vnicd.kernel.limits.raised import SharedLimit
from vnicd.native import directory
from vnicd.process import logs, privileges, trace, trace_files
from vnicd.protocol.log_line import NOTICE
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.plan import plan
from vnicd.spec.uplink import UplinkSpec

log = logging.getLogger(__name__)
R = TypeVar("R")

RETURN = 3.0
"""Seconds that daemons which outlived a hosting daemon have to come back before `up` goes on without them."""


class Fabric:
    """`on_change()` is called after what was asked for was done, or has failed, and when a daemon came or went."""

    def __init__(self, paths: Paths, options: Options, on_change: Callable[[], None]) -> None:
        self.paths = paths
        self.options = options
        self.on_change = on_change
        self.ports = Ports(str(paths.root), mac_seed.of_state(paths.state))
        self.relay = HostRelay(self.ports, options, self._port_up)
        kind = Units if options.units else Children
        self.supervisor: Supervisor = kind(paths, self._daemon_died)
        self.actions = Executor(self.relay, self.supervisor, self._save)
        self.leftovers = Leftovers(paths.root, self.ports, self.actions)
        self.reconciler = Reconciler(self.ports, self.actions, self._save, self._conclude)
        self.uplink = Uplink(str(paths.root), self.ports, self.relay, self.actions.kernel, options)
        self.relay.on_lack = lambda port, what: self.supervisor.deaths_of(port).lacks(what)
        self.relay.on_lost_tap = self.uplink.lost_interface
        self.drift = DriftWatch(self.ports, self.actions.kernel, self._mtu_is_known)
        self.progress = Progress(self.ports, self.relay)
        self.broker_service = BrokerService(self.ports, self.actions.kernel)
        self.attachments = Attachments(
            self.ports, self.reconciler.task, self.broker_service.follow_soon, self.reconciler.lost_tap
        )
        self.handovers = Handovers(self.ports, self.actions, self._moved, self._expire)
        self.names = NamesService(
            paths,
            options,
            self.ports,
            self.actions.kernel,
            self.broker_service.follow_soon,
            uplink=lambda: self.uplink.spec,
        )
        self.broker_service.also.append(self.names.update)
        self.parts = Parts(
            self.ports, self.actions, self.leftovers, self.uplink, self.broker_service, self._forget
        )
        self.reconfiguration = Reconfiguration(self.ports, self.actions, self.uplink)
        self.registrar = Registrar(paths, options, self.ports, self.relay, self.supervisor, self.reconciler)
        self.log_files = LogFiles(paths, self.ports, options.units)
        self.limits: list[SharedLimit] = [] if options.hugepages == "never" else [Overcommit()]
        self.limits += neighbours.limits()
        self.is_unsaved = False
        """The state could not be written the last time, or was not yet."""
        self.save_error: VnicdError | None = None
        """Why it could not be written the last time."""
        self.ready = False
        self.down = False
        """Nothing is made or written any more."""
        self.is_taking_down = False
        self.changes: set[asyncio.Task[Any]] = set()
        """Requests that make or remove a partition."""

    # --------------------------------------------------------------------------------- start and end

    async def start(self, revive: bool = True) -> None:
        """Take up what an earlier hosting daemon has left and, unless it is to be removed at once, revive it."""
        self.relay.start()
        partitions, uplink = state_file.load(self.paths.state)
        found = [self._remember(saved) for saved in partitions]
        self._find_daemons([port for port in found if not port.pid and port.is_member])
        await self.names.settle_files()
        await self.uplink.clean()
        if not revive:
            return
        if uplink is not None:
            await self.uplink.restore(uplink)
        self.registrar.listen()
        for port in [port for port in found if port.is_being_added]:
            await self._discard(port)
        await _all_up([port for port in found if port.pid and port.is_member], RETURN)
        dead = [port for port in found if port.is_member and not port.pid]
        for port in dead:
            await self.reconciler.revive(port)
        await _all_up([port for port in dead if port.state is PortState.STARTING], REGISTER_TIMEOUT_S)
        self.reconciler.start()
        self.attachments.start()
        self.reconciler.task(self.drift.watch())
        self.reconciler.task(self.handovers.watch())
        self.ready = True

    def _mtu_is_known(self, port: Port) -> bool:
        """Not while the uplink that an interface follows has yet to be found again."""
        return self.uplink.spec is None or port.followed is not None

    def claim_limits(self) -> None:
        """Raise what the machine limits too low for us; where that is not allowed, we do with what there is."""
        for limit in self.limits:
            try:
                limit.acquire()
            except OSError as error:
                log.warning("%s can't be raised to %d: %s", limit.limit, limit.least, error.strerror)

    def release_limits(self) -> None:
        for limit in self.limits:
            try:
                limit.release()
            except OSError as error:
                log.error("%s can't be put back: %s", limit.limit, error.strerror)

    def _remember(self, saved: state_file.Saved) -> Port:
        """A port of an earlier hosting daemon, and its daemon if that still lives."""
        stage = Stage.ADDING if saved.unfinished else Stage.MEMBER
        port = self.ports.insert(Port(saved.spec, saved.port, stage, birthplace=saved.birthplace))
        port.moves_in(saved.home)
        port.shall_follow(Following(self.uplink.mtu(saved.spec)))
        pidfd = process.open_process(saved.pid, saved.started) if saved.pid else None
        if pidfd is not None:
            self.supervisor.adopt(port, saved.pid, pidfd)
        self.relay.announce(port, directory.LIVE if pidfd is not None else directory.DOWN)
        return port

    def _find_daemons(self, ports: list[Port]) -> None:
        """Take up daemons that the state does not name: it could not be written when they were started.

        Under systemd their units tell whose they are.
        """
        if not ports or not isinstance(self.supervisor, Children):
            return
        running = {daemon.partition: daemon for daemon in daemons(self.paths.root) if daemon.partition}
        for port in ports:
            daemon = running.get(port.spec.name)
            user = process.user(daemon.pid) if daemon is not None else None
            if daemon is None or user not in (0, privileges.user_of(self.paths.root, port.number)):
                continue
            pidfd = process.open_process(daemon.pid, daemon.started)
            if pidfd is not None:
                self.supervisor.adopt(port, daemon.pid, pidfd)
                self.relay.announce(port, directory.LIVE)
                self.is_unsaved = True

    async def take_down(self) -> dict[str, list[int]]:
        """Remove all partitions; what is left then are files, and stop() is next. When it fails it can be tried again.

        The processes that go on in namespaces which we had made and named, by the names of the partitions.
        """
        if self.is_taking_down:
            raise NotRunning("the fabric is being taken down already")
        self.down = self.is_taking_down = True
        try:
            return await self._take_down()
        finally:
            self.is_taking_down = False

    async def _take_down(self) -> dict[str, list[int]]:
        for task in self.changes:
            task.cancel()
        if self.changes:
            await asyncio.wait(self.changes)
        await self.reconciler.stop()
        await self.names.stop()
        attached = [port.spec for port in self.ports if not port.spec.owns_netns]
        own = [port.spec for port in self.ports if port.spec.owns_netns]
        places = {where: spec.name for spec in own if (where := netns.identity(spec.netns_path)) is not None}
        outcomes = await asyncio.gather(
            *(self._discard(port) for port in list(self.ports)), return_exceptions=True
        )
        for outcome in outcomes:
            if outcome is not None:
                log.error("a partition can't be taken away: %s", outcome)
        await self.uplink.clear()
        await self.leftovers.remove_all(attached)
        await self.names.settle_files()
        self.release_limits()
        return await self.actions.kernel(lambda: tenants.inhabitants(places)) if places else {}

    async def stop(self) -> None:
        """End the hosting daemon; the partition daemons go on unless the fabric was taken down."""
        for task in self.changes:
            task.cancel()  # what is half made is unmade
        if self.changes:
            await asyncio.wait(self.changes)
        await self.reconciler.stop()
        self.attachments.stop()
        await self.broker_service.stop()
        await self.names.stop()
        await self.supervisor.settle()
        self.supervisor.close()
        await self.uplink.stop()
        for port in self.ports:
            port.begin_removal()
        self.registrar.close()
        self.relay.stop()
        self.actions.close()
        await self.drift.stop()

    def restore_files(self) -> None:
        """Our files were deleted under us: make them anew."""
        self.registrar.listen()
        self._save()

    # ------------------------------------------------------------------------------- add and remove

    async def add(self, spec: PartitionSpec, is_whole: bool = False) -> Port:
        """Make a partition, or leave nothing of it; the uplink gives it what is missing unless the spec `is_whole`."""
        return await self._change(Addition(self.parts, spec, is_whole).run())

    async def reconfigure(self, port: Port, spec: PartitionSpec) -> None:
        """Change what of a partition can change while it goes on: addresses, gateways, rate and MTU."""
        await self._change(self.reconfiguration.reconfigure(port, spec))
        await self.broker_service.follow()

    async def set_uplink(self, spec: UplinkSpec, absent: bool = False) -> None:
        """Use this uplink, with what partitions with an owner publish; what is in its way was looked for before."""
        await self.change_uplink(lambda _: self.uplink.with_owned_ports(spec), absent)

    async def change_uplink(
        self,
        change: Callable[[UplinkSpec | None], UplinkSpec],
        absent: bool = False,
        checks_ports: bool = False,
    ) -> None:
        """Use what is made of the uplink that there is then; when that fails, also to be written down, all stays.

        With `checks_ports` an error of new published ports is raised before.
        """

        async def work() -> None:
            async with self.uplink.changing:
                before = self.uplink.spec
                wanted = change(before)
                if checks_ports:
                    names = {port.spec.name for port in self.ports if not port.is_being_removed}
                    for error in await self.uplink.published_obstacles(wanted, names):
                        raise error
                await self.uplink.set(wanted, absent)
                try:
                    self._save()
                except VnicdError:
                    await (self.uplink.set(before, absent=True) if before else self.uplink.clear())
                    raise

        await self._change(work())

    async def clear_uplink(self) -> None:
        async def work() -> None:
            async with self.uplink.changing:
                if self.uplink.spec is None:
                    raise NotFound("no uplink is set", "set one with: vnicctl uplink set NIC")
                await self.uplink.clear()
                self._save()

        await self._change(work())

    async def remove(self, port: Port) -> None:
        """Take a partition away; Busy while another request is at it."""
        port.check_member()
        await self._change(self._remove(port))

    async def _remove(self, port: Port) -> None:
        try:
            await self._discard(port)
        except BaseException:
            port.removal_failed()
            raise

    async def _conclude(self, port: Port) -> None:
        """The namespace of somebody else is gone that a partition was in: so is the partition.

        One that is just being added is for the addition to undo, which is told so; NoNamespace then.
        """
        if port.is_being_removed:  # by a request that was faster: its name may be another partition's next
            return
        if port.is_being_added:
            self.supervisor.deaths_of(port).lacks("its namespace is gone", NoNamespace)
            raise NoNamespace(f"the namespace {port.spec.netns_path} is gone")
        log.log(NOTICE, "partition %s ends: its namespace %s is gone", port.spec.name, port.spec.netns_path)
        await self._remove(port)
        self.on_change()

    def _moved(self) -> None:
        """An interface that was handed over is in another namespace than before."""
        self.save_soon()
        self.attachments.look_soon()
        self.broker_service.follow_soon()
        self.on_change()

    async def _expire(self, port: Port) -> None:
        """Nobody has come for an interface that is to be handed over."""
        log.log(NOTICE, "partition %s ends: nobody has taken its interface", port.spec.name)
        await self._remove(port)

    async def restart(self, port: Port) -> None:
        """End a partition's daemon, and return when another one serves it; TimedOut when none comes up."""
        port.check_member()
        await self._change(self._restart(port))

    async def _restart(self, port: Port) -> None:
        try:
            await self.reconciler.restart(port, REGISTER_TIMEOUT_S)
        except TimeoutError as error:
            text = f"the daemon of partition {port.spec.name} did not come back in {REGISTER_TIMEOUT_S:g} s"
            raise TimedOut(text, port.reason or "it is tried again; see: vnicctl doctor") from error
        port.check_member()

    async def _change(self, work: Coroutine[Any, Any, R]) -> R:
        """Do something that take_down() ends before it begins, in a task of its own."""
        try:
            self.check_ready()
        except NotRunning:
            work.close()
            raise
        task = asyncio.get_running_loop().create_task(work)
        self.changes.add(task)
        task.add_done_callback(self._changed)
        try:
            return await asyncio.shield(task)  # it goes on when the client is gone
        except asyncio.CancelledError as error:
            if self.down:
                raise NotRunning("the fabric is being taken down") from error
            raise

    def _changed(self, task: asyncio.Task[Any]) -> None:
        self.changes.discard(task)
        self.handovers.look_soon()
        self.names.look_at_uplink()
        self.on_change()

    def check_ready(self) -> None:
        """NotRunning while nothing can be changed."""
        if self.down or not self.ready:
            raise NotRunning("the fabric is being taken down" if self.down else "the fabric is not ready yet")

    async def _discard(self, port: Port) -> None:
        """Take a partition away, whatever there is of it. What is begun here, a next hosting daemon will end."""
        port.begin_removal()
        self._save()
        await self.broker_service.follow()
        async with port.lock:
            actual = await self.actions.kernel(lambda: kernel_ops.leftover(port.location))
            actual = replace(actual, daemon=self.supervisor.has_daemon(port))
            if actual.namespace:
                # direct ones need no interface, and would go on; the daemon is there to carry the resets
                await self.actions.kernel(lambda: kernel_ops.abort_connections(port.location))
            await self.actions.execute(plan({}, {port.spec.name: actual}), port)
            self._forget(port)

    def _forget(self, port: Port) -> None:
        """The partition is no more: peers, directory, state, log and trace."""
        self.relay.withdraw(port)
        self.supervisor.forget_deaths(port)
        port.removed()
        self.ports.discard(port)
        if port.spec.owner:  # of others the ports stay published, for a partition of that name which may come
            self.uplink.publish_no_more(port.spec.name)
        self.uplink.look_again()
        self.log_files.forget(port.spec.name)
        trace_files.remove(self.registrar.traces, port.spec.name)
        try:
            self._save()
        except VnicdError as error:  # the next change that can be written makes up for it
            log.error("%s", error.line())

    def _save(self) -> None:
        if not self.down:
            self.is_unsaved = True
            partitions = [port.saved for port in self.ports]
            try:
                state_file.save(
                    self.paths.state, partitions, self.uplink.spec, self.options.units, self.ports.seed
                )
            except VnicdError as error:
                self.save_error = error
                raise
            self.is_unsaved, self.save_error = False, None

    def save_soon(self) -> None:
        """Write the state; when it can't be written, the next tick tries again."""
        with suppress(VnicdError):  # it was logged
            self._save()

    def save_again(self) -> None:
        """Write the state if that has failed before; at each tick."""
        if self.is_unsaved:
            with suppress(VnicdError):  # it was logged
                self._save()

    # ---------------------------------------------------------------------------------------- events

    def _port_up(self, port: Port) -> None:
        port.daemon_came_up()
        self.supervisor.came_up(port)
        self.log_files.hand(port)
        self.relay.announce(port, directory.LIVE)
        self.attachments.look_soon()
        if not port.is_being_added:
            self.uplink.look_again()
            self.broker_service.follow_soon()
        self.on_change()

    def _daemon_died(self, port: Port) -> None:
        """A partition daemon has ended by itself: its peers are told, and it is started again."""
        trace.note("daemon_died", port.number, text=port.spec.name)
        self.relay.links.port_down(port.number)
        if port.channel is not None:  # what a dead daemon has left unread is not its successor's word
            port.channel.close()
        if port.allowance is not None:
            port.allowance.renew()
        if port.is_being_removed or self.down:
            return
        port.daemon_died()
        self.relay.announce(port, directory.DOWN)
        if port in self.reconciler.untold:
            pass  # what that means is found out next
        elif port.number in self.reconciler.ending:
            log.info("the daemon of partition %s is started again", port.spec.name)
        else:
            words = self.supervisor.deaths_of(port).words
            log.warning(
                "the daemon of partition %s has died%s", port.spec.name, f": {words}" if words else ""
            )
        self.reconciler.task(self.reconciler.revive(port, self.supervisor.delay(port)))
        self.on_change()


async def _all_up(ports: list[Port], timeout: float) -> None:
    """Wait until all these ports are up, or for `timeout` seconds."""
    if ports:
        waits: list[Awaitable[Any]] = [asyncio.ensure_future(port.up.wait()) for port in ports]
        _, late = await asyncio.wait(waits, timeout=timeout)  # type: ignore[type-var]
        for wait in late:
            wait.cancel()  # type: ignore[attr-defined]


def remove_files(paths: Paths) -> None:
    """Remove the fabric's files but for the control socket and, when nothing else is in it, its directory."""
    scratch = paths.state.with_suffix(".new")
    for path in (paths.state, scratch, paths.host_lock, paths.registration, paths.names):
        path.unlink(missing_ok=True)
    logs.leave_files()
    for folder in (paths.logs, paths.etc):
        shutil.rmtree(folder, ignore_errors=True)
    trace_files.remove_all(trace_files.folder(paths.root))
    try:
        paths.root.rmdir()
    except OSError:
        pass  # something of the user's is in it
