"""Names of partitions: which there are, where they are answered, and the helper that does it.

Theory of operation. The names helper (vnicd/names) answers at a loopback address in each partition's namespace. It is
told the names and addresses, and gets the sockets of each namespace, of which nothing is kept here: they would keep
the namespace alive. All of this is done by `update`, which is called with the partitions that are there; it compares
them with what the helper was told. A helper that has ended knows nothing, so the next one is told everything.

Files in /etc/netns lead programs to that address in namespaces that vnicd has made (kernel/names/overlay.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import Callable, Collection, Mapping
from typing import Any

from vnicd.config import Options, Paths
from vnicd.errors import NoNamespace
from vnicd.host.broker.namespace import Kernel, Place
from vnicd.host.names import helper as helpers
from vnicd.host.names.helper import Helper
from vnicd.host.ports.port import Port, Ports
from vnicd.kernel import netns
from vnicd.kernel.names import sockets
from vnicd.kernel.names.overlay import FOLDER, Overlay, settle_common
from vnicd.kernel.netns import Identity
from vnicd.spec.names import SERVER, SUFFIX, TCP_PORT, known_names, lo_down
from vnicd.spec.uplink import UplinkSpec

log = logging.getLogger(__name__)

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 30.0
LIVED_S = 5.0
"""Seconds after which the death of a helper counts as its first."""


class NamesService:
    """`follow()` has `update` called soon. With an `uplink()` that has a NIC, other names are forwarded."""

    def __init__(
        self,
        paths: Paths,
        options: Options,
        ports: Ports,
        kernel: Kernel,
        follow: Callable[[], object],
        uplink: Callable[[], UplinkSpec | None],
    ) -> None:
        self.paths = paths
        self.options = options
        self.ports = ports
        self.kernel = kernel
        self.follow = follow
        self.uplink = uplink
        self.overlay = Overlay(os.path.realpath(paths.root))
        self.helper: Helper | None = None
        self.born = 0.0
        self.backoff = 0.0
        self.start_at = 0.0
        """When a helper may be started, by the clock of the event loop."""
        self.failing = False
        """Whether the last helper has died young, which was said once."""
        self.refused: dict[Identity, tuple[str, str]] = {}
        """Namespaces without answers: a partition there, and why."""
        self.servers: set[str] = set()
        """Partitions that publish port 53: it is theirs."""
        self.is_late = False
        """Whether the last update could not be made."""
        self.stopped = False
        self.waits: set[asyncio.Task[Any]] = set()

    @property
    def is_on(self) -> bool:
        return self.options.names is not False

    # ------------------------------------------------------------------------------------- following

    async def update(self, places: Mapping[int, Place]) -> None:
        """Make it so that these partitions, by their ports, are answered, and no others; one call at a time."""
        try:
            await self.settle_files()
            if self.is_on and not self.stopped:
                await self._update(places)
        except OSError as error:  # no descriptors, no memory: the next look makes up for it
            log.warning("names can't follow the partitions: %s", error)
            self.is_late = True
        else:
            self.is_late = False

    async def settle_files(self) -> None:
        """Have the files that lead programs here, for the partitions that there are, and no others."""
        self.servers = self._find_servers()
        owned = [
            port.spec.name
            for port in self.ports
            if self.is_on and port.is_member and port.spec.owns_netns and port.spec.name not in self.servers
        ]

        def work() -> None:
            self.overlay.settle(owned)
            settle_common(self.paths.etc, self.is_on)

        await self.kernel(work)

    async def _update(self, places: Mapping[int, Place]) -> None:
        found = self._namespaces(places)
        if found and self.helper is None:
            self._start()
        if (helper := self.helper) is None:
            return
        for where in helper.served.keys() - found:
            helper.send({"op": "stop", "id": helper.served.pop(where)})
        members = [port.spec for port in self.ports if port.is_member and port.has_programs]
        self._tell(helper, known_names(members))
        self.refused = {where: told for where, told in self.refused.items() if where in found}
        for where in found.keys() - helper.served:
            await self._serve(helper, where, places[found[where]], self._name(found[where]))

    def look(self) -> None:
        """From time to time: what nobody tells us of."""
        if self.helper is not None:
            self.helper.look(self.options.log_level)
        if (self.refused or self.is_late) and not self.stopped:
            self.follow()

    def look_at_uplink(self) -> None:
        """It may have been set, changed or cleared."""
        if self.stopped or not self.is_on:
            return
        if self.helper is not None and self.helper.forwarding != self._forwards():
            self._tell_forwarding(self.helper)
        if self.servers != self._find_servers():
            self.follow()

    async def stop(self) -> None:
        """End the helper, and wait until it has."""
        self.stopped = True
        self._end()
        if self.waits:
            await asyncio.wait(self.waits)

    def _tell(self, helper: Helper, names: Mapping[str, tuple[str, ...]]) -> None:
        for name in helper.told.keys() - names:
            del helper.told[name]
            helper.send({"op": "name", "name": name, "addresses": None})
        for name, addresses in names.items():
            if helper.told.get(name) != addresses:
                helper.told[name] = addresses
                helper.send({"op": "name", "name": name, "addresses": addresses})
        if helper.forwarding != self._forwards():
            self._tell_forwarding(helper)

    def _namespaces(self, places: Mapping[int, Place]) -> dict[Identity, int]:
        """Where to answer, each with one of the partitions there; not where port 53 is somebody else's."""
        found: dict[Identity, int] = {}
        left_out = set()
        for number, place in places.items():
            if (where := netns.identity(place.netns or netns.OWN)) is not None:
                found.setdefault(where, number)
                if self._name(number) in self.servers | self.overlay.foreign:
                    left_out.add(where)
        return {where: number for where, number in found.items() if where not in left_out}

    def _find_servers(self) -> set[str]:
        spec = self.uplink()
        return {each.name for each in spec.publish if each.target == TCP_PORT} if spec is not None else set()

    def _forwards(self) -> bool:
        spec = self.uplink()
        return self.options.names is True and spec is not None and bool(spec.nic)

    def _tell_forwarding(self, helper: Helper) -> None:
        helper.forwarding = self._forwards()
        helper.send({"op": "forward", "on": helper.forwarding})

    async def _serve(self, helper: Helper, where: Identity, place: Place, name: str) -> None:
        path = place.netns or netns.OWN
        try:
            udp, tcp = await self.kernel(lambda: sockets.open_in(path))
        except (OSError, NoNamespace) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else error.message
            if where not in self.refused:
                log.warning("names can't be answered in partition %s: %s", name, reason)
            self.refused[where] = (name, reason)
            return
        self.refused.pop(where, None)
        with udp, tcp:
            if not helper.closed and netns.identity(path) == where:
                helper.last_id += 1
                helper.served[where] = helper.last_id
                fds = [udp.detach(), tcp.detach()]
                helper.send({"op": "serve", "id": helper.last_id}, fds)

    def _name(self, number: int) -> str:
        port = self.ports.by_number.get(number)
        return port.spec.name if port is not None else str(number)

    # ------------------------------------------------------------------------------------ the helper

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self.start_at:
            return
        self.born = loop.time()
        start = helpers.start_unit if self.options.units else helpers.start_child
        try:
            self.helper = start(self.paths, self._died)
        except OSError as error:
            self._failed(f"can't be started: {error.strerror}")
        else:
            self.helper.tell_log(self.options.log_level)

    def _died(self, why: str) -> None:
        """It has ended, or was stuck, and the next one begins anew."""
        self._end()
        self._failed(why)

    def _failed(self, what: str) -> None:
        loop = asyncio.get_running_loop()
        lived = loop.time() - self.born >= LIVED_S
        if lived or not self.failing:
            log.warning("the names helper %s; it is started again", what)
        self.failing = not lived
        self.backoff = (
            BACKOFF_FIRST_S if lived else min(max(BACKOFF_FIRST_S, 2 * self.backoff), BACKOFF_MAX_S)
        )
        self.start_at = loop.time() + self.backoff
        loop.call_later(self.backoff, self._again)

    def _again(self) -> None:
        if not self.stopped:
            self.follow()

    def _end(self) -> None:
        helper, self.helper = self.helper, None
        child = helper.close() if helper is not None else None
        if child is not None:
            task = asyncio.get_running_loop().create_task(self._reap(child))
            self.waits.add(task)
            task.add_done_callback(self.waits.discard)

    async def _reap(self, child: subprocess.Popen[bytes]) -> None:
        await asyncio.to_thread(child.wait)

    # --------------------------------------------------------------------------------------- telling

    def to_json(self) -> dict[str, Any]:
        """For `vnicctl status`."""
        return {
            "mode": self.options.names,
            "server": SERVER if self.is_on else None,
            "forwarding": self.is_on and self._forwards(),
            "pid": self.helper.pid if self.helper is not None else None,
        }

    def dns(self, port: Port) -> dict[str, list[str]] | None:
        """Where a container's programs ask for names, and the search list; None where they are not answered."""
        if not self.is_on or port.spec.name in self.servers:
            return None
        return {"nameservers": [SERVER], "search": [SUFFIX]}

    def warnings(self, port: Port) -> list[tuple[str, str]]:
        """What in a partition's own namespace keeps names from being found there; each with the remedy."""
        left_out = self.servers | self.overlay.foreign
        lo_is_up = port.seen is None or port.seen.lo_is_up
        return (
            [lo_down(port.spec.name)]
            if self.is_on and not lo_is_up and port.spec.name not in left_out
            else []
        )

    def findings(self, shared: Collection[Identity] = ()) -> list[dict[str, Any]]:
        """What keeps partitions from finding each other by name, for `vnicctl doctor`.

        In namespaces that are `shared` with another network, that answers.
        """
        found = []
        if self.failing:
            detail, remedy = "the names helper does not stay up", "see the log of the hosting daemon"
            found.append(_finding("warn", detail, remedy))
        for where, (name, reason) in self.refused.items():
            if where in shared:
                detail = f"in {name} another network answers at {SERVER}, and not this one"
                found.append(_finding("ok", detail, None))
                continue
            detail = f"in {name} no names are answered at {SERVER}, port {TCP_PORT}: {reason}"
            found.append(_finding("warn", detail, "end what listens there, or set: names = false"))
        for name, reason in self.overlay.problems.items():
            detail = f"{name} does not know where to ask for names: {reason}"
            found.append(_finding("warn", detail, f"have its programs ask {SERVER}"))
        for port in self.ports:
            found += [_finding("warn", *words) for words in self.warnings(port)]
        for name in sorted(self.overlay.foreign):
            detail = f"{name} asks for names as {FOLDER}/{name}/resolv.conf says, which is not vnicd's"
            found.append(_finding("ok", detail, None))
        for name in sorted(self.servers & self.ports.by_name.keys()) if self.is_on else ():
            found.append(
                _finding("ok", f"{name} publishes port {TCP_PORT}, so it is asked nothing there", None)
            )
        return found


def _finding(status: str, detail: str, remedy: str | None) -> dict[str, Any]:
    return {"name": "names", "status": status, "detail": detail, "remedy": remedy}
