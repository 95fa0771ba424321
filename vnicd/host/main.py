"""The hosting daemon: one for each fabric; its life, and the methods that it answers to."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
from dataclasses import fields
from typing import Any

from vnicd import __version__
from vnicd.config import Options, Paths
from vnicd.errors import Busy, Invalid, NoHugepages, NotFound, NotPermitted, Resources
from vnicd.host import health, status
from vnicd.host.apply import Applier
from vnicd.host.control import access
from vnicd.host.control.server import Method, Server
from vnicd.host.control.socket_activation import is_at
from vnicd.host.fabric import Fabric, remove_files
from vnicd.host.lock import HostLock
from vnicd.host.ports.port import PortState
from vnicd.host.uplink.publishing import Publishing
from vnicd.native import memory
from vnicd.process import logs, trace, trace_files
from vnicd.process.systemd_notify import Notifier
from vnicd.process.ticks import until_tick
from vnicd.spec.fabric_file import Declared
from vnicd.spec.partition import PartitionSpec, check_owner, make_partition
from vnicd.spec.plan import LIVE_FIELDS, OWNED_FIELDS
from vnicd.spec.uplink import UplinkSpec, make_uplink

log = logging.getLogger(__name__)

SPEC_FIELDS = {field.name for field in fields(PartitionSpec)}
SET_FIELDS = {"name", *LIVE_FIELDS, *OWNED_FIELDS}
UPLINK_FIELDS = {field.name for field in fields(UplinkSpec)}


class Host:
    def __init__(
        self,
        paths: Paths,
        options: Options,
        lock: HostLock,
        declared: Declared | None = None,
        handed: socket.socket | None = None,
    ) -> None:
        self.fabric = Fabric(paths, options, self._tell_status)
        self.applier = Applier(self.fabric, reads_file=declared is not None)
        self.publishing = Publishing(self.fabric.uplink, self.fabric.ports, self.fabric.change_uplink)
        self.declared = declared
        self.lock = lock
        self.paths = paths
        self.options = options
        self.done = asyncio.Event()
        self.settled = asyncio.Event()
        """Set when the fabric is what it was, and what the file declares: from then on it can be changed."""
        self.coming: list[str] = []
        """Names of partitions that somebody has asked for, which may not be among the ports yet."""
        self.notify = Notifier()
        self.handed = handed
        """The control socket, when systemd has opened it."""
        self.server = Server(
            {
                "fabric.ping": self._ping,
                "fabric.down": self._down,
                "fabric.check": self._check,
                "status": self._status,
                "links": self._links,
                "debug.link": self._debug_link,
                "sockets.list": self._list_sockets,
                "stats": self._stats,
                "partition.add": self._when_settled(self._add),
                "partition.set": self._when_settled(self.applier.set_method),
                "partition.remove": self._when_settled(self._remove),
                "partition.restart": self._when_settled(self._restart),
                "partition.list": self._list,
                "partition.show": self._show,
                "uplink.set": self._when_settled(self._set_uplink),
                "uplink.show": self._show_uplink,
                "publish.add": self._when_settled(self.publishing.add_method),
                "publish.remove": self._when_settled(self.publishing.remove_method),
                "publish.list": self.publishing.list_method,
                "uplink.clear": self._when_settled(self._clear_uplink),
                "fabric.apply": self._when_settled(self._apply),
                "config.export": self.applier.export_method,
            }
        )

    async def run(self, take_down: bool) -> None:
        """Serve until stopped; with `take_down` only find what is left of a fabric and remove it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.set_exception_handler(Complaints().take)
        try:
            self.fabric.claim_limits()
            self._check_hugepages()
            if not take_down:
                await self._listen()
            else:
                await self.fabric.leftovers.end_hosts()
            await self.fabric.start(revive=not take_down)
            nothing_to_do = take_down or self.fabric.down
            if self.declared is not None and self.declared.is_something and not nothing_to_do:
                await self.applier.apply_at_start(self.declared, self.done)
            if not self.done.is_set():
                self.settled.set()
            log.info("ready")
            trace.note("ready")
            self.notify.ready(status.line(self.fabric))
            self._give_sign()
            if take_down:
                await self.fabric.take_down()
                await self.fabric.supervisor.end_service()
            else:
                await self._serve()
                if self.handed is not None and not self.fabric.down:
                    await self.fabric.supervisor.service_stopped()
        finally:
            self.notify.stopping()
            is_own = self._owns_control()
            self.server.close()
            await self.fabric.stop()
            if not self.paths.state.exists():  # no partition needs them: the start failed, or none was made
                self.fabric.release_limits()
            trace.note("ended")
            if not self.lock.is_lost():
                self._remove_files(is_own)

    def _on_signal(self, number: int) -> None:
        trace.note("signal", number)
        self.done.set()

    def _on_hangup(self) -> None:
        """Somebody has moved log files, and wants new ones. In the journal there is nothing to do."""
        trace.note("signal", signal.SIGHUP)
        self._look_after_logs()

    def _look_after_logs(self) -> None:
        logs.look()
        self.server.audit.look()
        if not self.fabric.down:
            self.fabric.log_files.look()

    async def _listen(self) -> None:
        if self.handed is not None and is_at(self.handed, self.paths.control):
            await self.server.listen(self.handed.dup())
            return
        self.paths.control.unlink(missing_ok=True)
        await self.server.listen(str(self.paths.control))
        access.open_to_group(self.paths.control)

    async def _serve(self) -> None:
        """Until we are told to stop; meanwhile make anew what was deleted of our files, which nobody tells us."""
        while not self.done.is_set():
            try:
                await asyncio.wait_for(self.done.wait(), until_tick())
            except TimeoutError:
                self._look_after_logs()
                if not self.fabric.down and not self._files_are_whole():
                    await self._restore_files()
                self.fabric.progress.look()
                self.fabric.save_again()
                await self.fabric.broker_service.look()
                self.fabric.names.look()

    def _tell_status(self) -> None:
        self.notify.status(status.line(self.fabric))

    def _give_sign(self) -> None:
        """Tell systemd from time to time how the fabric is, and that the datapath goes on, if it does."""
        if self.notify.watchdog:
            asyncio.get_running_loop().call_later(self.notify.watchdog, self._give_sign)
            self._tell_status()
            if self.fabric.progress.host_moves:
                self.notify.alive()
            else:
                trace.note("no_progress")

    def _files_are_whole(self) -> bool:
        return self._is_found() and self.lock.is_whole() and self.paths.registration.exists()

    def _is_found(self) -> bool:
        """Whether clients that come by the path come to us."""
        listener = self.server.listener
        return listener is not None and is_at(listener, self.paths.control)

    async def _restore_files(self) -> None:
        log.warning("files in %s were deleted; they are made anew", self.paths.root)
        try:
            if not self.lock.is_whole():
                self.lock.renew()
            if not self._is_found():  # or clients that are connected would be dropped for nothing
                self.server.close()
                await self._listen()
            self.fabric.restore_files()
        except (Resources, OSError) as error:  # no space, or no descriptors: the next look tries again
            log.error("they can't be made anew yet: %s", error)

    def _owns_control(self) -> bool:
        """Whether the control socket's file is ours to remove: not that of systemd, at which clients go on to wait."""
        if self.handed is not None and is_at(self.handed, self.paths.control):
            return False
        listener = self.server.listener
        return listener is None or is_at(listener, self.paths.control)

    def _remove_files(self, is_own: bool) -> None:
        """The sockets, and all else after a `down`."""
        if is_own:
            self.paths.control.unlink(missing_ok=True)
        self.paths.registration.unlink(missing_ok=True)
        if self.fabric.down:
            self.paths.control.unlink(missing_ok=True)
            remove_files(self.paths)

    def _check_hugepages(self) -> None:
        if self.options.hugepages == "require" and not memory.huge_pages_available():
            raise NoHugepages(
                "no 2 MiB hugepage can be had", "see vnicctl doctor, or use: vnicctl up --hugepages auto"
            )

    # -------------------------------------------------------------------------------------- methods

    def _when_settled(self, method: Method) -> Method:
        """The method for clients that may be early, as is who has woken us by connecting to systemd's socket."""

        async def waiting(params: dict[str, Any]) -> Any:
            await self.settled.wait()
            return await method(params)

        return waiting

    async def _ping(self, params: dict[str, Any]) -> Any:
        starting = [port.spec.name for port in self.fabric.ports if port.state is PortState.STARTING]
        return {"ready": self.fabric.ready, "pid": os.getpid(), "version": __version__, "starting": starting}

    async def _down(self, params: dict[str, Any]) -> Any:
        running = await self.fabric.take_down()
        await self.fabric.supervisor.end_service()
        self.done.set()  # who waits for it runs after this task, which sends the answer before it yields
        return {"running": running}

    async def _check(self, params: dict[str, Any]) -> Any:
        return {"checks": await health.examine(self.fabric)}

    async def _apply(self, params: dict[str, Any]) -> Any:
        """For systemd it is a reload, also when nobody has asked systemd for it."""
        if params.get("dry_run"):
            return await self.applier.apply_method(params)
        with self.notify.reload(lambda: status.line(self.fabric)):
            return await self.applier.apply_method(params)

    async def _status(self, params: dict[str, Any]) -> Any:
        await self.fabric.drift.refresh()
        return status.status(self.fabric)

    async def _links(self, params: dict[str, Any]) -> Any:
        return status.links(self.fabric)

    async def _debug_link(self, params: dict[str, Any]) -> Any:
        one, other = (status.port_named(self.fabric, params.get(key)) for key in ("from", "to"))
        return await self.fabric.actions.kernel(lambda: status.link_memory(self.fabric, one, other))

    async def _list_sockets(self, params: dict[str, Any]) -> Any:
        return await self.fabric.broker_service.list()

    async def _stats(self, params: dict[str, Any]) -> Any:
        return status.stats(self.fabric, params.get("name"))

    async def _add(self, params: dict[str, Any]) -> Any:
        unknown = set(params) - SPEC_FIELDS
        if unknown:
            raise Invalid(f"a partition has no {', '.join(sorted(unknown))}")
        spec = make_partition(**{"name": None, **self.fabric.uplink.with_lengths(params)})
        self.coming.append(spec.name)
        try:
            await self.applier.checker.check_addition(spec)
            port = await self.fabric.add(spec)
        finally:
            self.coming.remove(spec.name)
        await self.fabric.drift.look_at(port)
        warnings = [": ".join(words) for words in self.fabric.names.warnings(port)]
        return {**port.to_json(), "warnings": warnings, "dns": self.fabric.names.dns(port)}

    async def _remove(self, params: dict[str, Any]) -> Any:
        name, owner = params.get("name"), check_owner(params.get("owner"))
        if owner and name not in self.fabric.ports.by_name:
            if name in self.coming:  # or it would be there after all, and nobody's
                raise Busy(f"the partition {name} is being added")
            return {}  # a runtime asks until it is done
        port = self.fabric.ports.get(name)
        if not port.spec.is_of(owner):
            raise NotFound(f"the partition {port.spec.name} belongs to somebody else")
        await self.fabric.remove(port)
        return {}

    async def _restart(self, params: dict[str, Any]) -> Any:
        port = self.fabric.ports.get(params.get("name"))
        await self.fabric.restart(port)
        return port.to_json()

    async def _list(self, params: dict[str, Any]) -> Any:
        owner = check_owner(params.get("owner"))
        await self.fabric.drift.refresh()
        return {"partitions": [port.to_json() for port in self.fabric.ports if port.spec.is_of(owner)]}

    async def _show(self, params: dict[str, Any]) -> Any:
        port = self.fabric.ports.get(params.get("name"))
        await self.fabric.drift.refresh()
        return port.to_json()

    async def _set_uplink(self, params: dict[str, Any]) -> Any:
        unknown = set(params) - UPLINK_FIELDS
        if unknown:
            raise Invalid(f"an uplink has no {', '.join(sorted(unknown))}")
        spec = make_uplink(**{"nic": None, **params})
        await self.applier.checker.check_uplink(spec)
        await self.fabric.set_uplink(spec)
        return {"uplink": status.uplink(self.fabric)}

    async def _show_uplink(self, params: dict[str, Any]) -> Any:
        return {"uplink": status.uplink(self.fabric)}

    async def _clear_uplink(self, params: dict[str, Any]) -> Any:
        await self.fabric.clear_uplink()
        return {}


class Complaints:
    """What goes wrong in the event loop, such as too few descriptors to accept a client: one line in five seconds."""

    def __init__(self) -> None:
        self.last = 0.0

    def take(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if loop.time() - self.last > 5:
            self.last = loop.time()
            log.error("%s: %r", context.get("message"), context.get("exception"))


def main(
    options: Options,
    take_down: bool = False,
    declared: Declared | None = None,
    handed: socket.socket | None = None,
) -> None:
    """Run the hosting daemon of the fabric in VNICD_RUNTIME_DIR; VnicdError when it can't start.

    What is `declared` is applied as soon as it is ready. `handed` is the control socket, if it is open already.
    """
    if os.geteuid() != 0:
        raise NotPermitted("the hosting daemon needs root")
    signal.signal(signal.SIGHUP, lambda *_: None)  # until the event loop takes it
    os.umask(0o022)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    paths = Paths.from_environment()
    lock = HostLock(paths)
    _start_trace(paths)
    os.chdir("/")
    try:
        asyncio.run(_run(paths, options, lock, take_down, declared, handed))
    except OSError as error:
        raise Resources(f"the hosting daemon can't go on: {error}") from error
    finally:
        logs.end()
        if not lock.is_lost() and not paths.state.exists():
            remove_files(paths)  # a start that failed, or a fabric that never had a partition, leaves none
        lock.close()


def _start_trace(paths: Paths) -> None:
    trace.note("started", text=__version__)
    try:
        trace.use(trace_files.make(trace_files.folder(paths.root), "host"))
    except (OSError, memory.Refused) as error:
        log.warning("the hosting daemon goes on without a trace: %s", error)
    logs.add(trace.Handler())


async def _run(
    paths: Paths,
    options: Options,
    lock: HostLock,
    take_down: bool,
    declared: Declared | None,
    handed: socket.socket | None,
) -> None:
    await Host(paths, options, lock, declared, handed).run(take_down)
