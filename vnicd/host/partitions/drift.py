"""Watches what partitions' interfaces have, and puts back what was lost by accident.

Theory of operation. Nobody tells us what root does in a namespace: a netlink socket there would, but it would keep a
namespace of somebody else's alive. So every partition is looked at every two seconds, by a thread that enters one
namespace after the other for a tenth of a millisecond each, and before a status is shown. spec/drift.py says what of
the differences is put back; the kernel thread does that, after another look.

What somebody changes again and again is put back less and less often, and logged twice. Everything that is not put back
is named by `status` and `doctor`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from vnicd.errors import VnicdError
from vnicd.host.ports.complaints import NOBODY, Complaints
from vnicd.host.ports.port import Port, Ports
from vnicd.kernel import netns, process, tap
from vnicd.kernel.drift import mending, seen
from vnicd.process.ticks import until_tick
from vnicd.protocol.registration import close_all
from vnicd.spec.drift import Drift, Kind, Seen, drift, goes_with_down, to_mend, was_set_down

log = logging.getLogger(__name__)
T = TypeVar("T")

AT_ONCE = 32
"""Partitions that are looked at in one go, each with a descriptor of its namespace."""

FRESH_S = 0.02
"""Seconds for which a look is as good as a new one for who asks."""

PATIENCE_S = 0.5
"""Seconds that who asks waits for a look: the kernel may be busy with something else."""

FIGHT_S = 60.0
"""Seconds after which a change of the same kind is no longer taken for a fight."""

FIGHT_TIMES = 3
"""As often within that time, and doctor names it."""

PAUSE_S, PAUSE_MOST_S = 2.0, 300.0
"""Seconds before the same is put back again; doubles each time."""


class RunsKernelWork(Protocol):
    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


@dataclass
class Fight:
    """What was put back lately of one kind, or could not be."""

    times: int = 0
    pause: float = 0.0
    last: float = 0.0
    is_refused: bool = False
    """The kernel did not take it the last time."""

    def is_over(self, now: float) -> bool:
        return now - self.last > FIGHT_S + 2 * self.pause

    def is_due(self, now: float) -> bool:
        """Whether it is time to put it back (again)."""
        return self.times == 0 or now - self.last >= self.pause

    def note(self, now: float, is_refused: bool) -> int:
        """It was tried; how many times by now."""
        if self.is_over(now):
            self.times, self.pause = 0, 0.0
        self.times += 1
        self.pause = min(PAUSE_MOST_S, max(PAUSE_S, 2 * self.pause))
        self.last, self.is_refused = now, is_refused
        return self.times


@dataclass
class Watched:
    """What is remembered of a partition between two looks."""

    last: Seen | None = None
    dropped: bool = False
    """Its interface was set down and up, and what the kernel has dropped is not back yet."""
    fights: dict[tuple[Kind, bool], Fight] = field(default_factory=dict)
    """By kind, and whether the kernel itself had dropped it: that is no fight, and is put back each time."""

    named: dict[Kind, Fight] = field(default_factory=dict)
    """What is left as it is, and was logged."""

    def fight(self, each: Drift) -> Fight:
        return self.fights.setdefault((each.kind, self.is_dropped(each)), Fight())

    def is_dropped(self, each: Drift) -> bool:
        return self.dropped and goes_with_down(each)

    def is_due(self, each: Drift, now: float) -> bool:
        fight = self.fight(each)
        return (self.is_dropped(each) and not fight.is_refused) or fight.is_due(now)


class DriftWatch:
    """`mtu_is_known(port)` says whether the MTU that an interface is to have has been decided."""

    def __init__(self, ports: Ports, kernel: RunsKernelWork, mtu_is_known: Callable[[Port], bool]) -> None:
        self.ports = ports
        self.kernel = kernel
        self.mtu_is_known = mtu_is_known
        self.thread = ThreadPoolExecutor(1, "drift")
        self.complaints = Complaints(log)
        self.watched: dict[Port, Watched] = {}
        self.looking: asyncio.Task[None] | None = None
        self.looked_at = 0.0

    async def watch(self) -> None:
        """Look, and put back, until cancelled."""
        while True:
            await asyncio.sleep(until_tick())
            await asyncio.shield(self._begin_look())
            for port in list(self.ports):
                if self._has_to_mend(port):
                    await self._mend(port)

    async def stop(self) -> None:
        if self.looking is not None:
            await self.looking
        self.thread.shutdown()

    def fought_over(self, port: Port) -> int:
        """How often something of a partition was put back that is changed again and again; 0 when nothing is."""
        watched, now = self.watched.get(port, Watched()), asyncio.get_running_loop().time()
        fights = [fight for (_, dropped), fight in watched.fights.items() if not dropped]
        times = max((fight.times for fight in fights if not fight.is_over(now)), default=0)
        return times if times >= FIGHT_TIMES else 0

    async def refresh(self) -> None:
        """Look now, for somebody who wants to know; after a while without an answer what is known has to do."""
        if asyncio.get_running_loop().time() - self.looked_at >= FRESH_S:
            await asyncio.wait([self._begin_look()], timeout=PATIENCE_S)

    async def look_at(self, port: Port) -> None:
        """Look at one partition that was just made; where that takes too long, the next look comes soon."""
        with suppress(TimeoutError, OSError, RuntimeError, MemoryError):
            await asyncio.wait_for(asyncio.shield(self._look_at([port])), PATIENCE_S)

    # ------------------------------------------------------------------------------------------- looking

    def _begin_look(self) -> asyncio.Task[None]:
        """All who want to look meanwhile get what this one finds."""
        if self.looking is None or self.looking.done():
            self.looking = asyncio.get_running_loop().create_task(self._look_at_all())
        return self.looking

    async def _look_at_all(self) -> None:
        ports = list(self.ports)
        try:
            for start in range(0, len(ports), AT_ONCE):
                await self._look_at(ports[start : start + AT_ONCE])
        except (OSError, RuntimeError, MemoryError) as error:  # no descriptors, no threads
            self.complaints.warn(NOBODY, "partitions can't be looked at: %s", error)
        self.looked_at = asyncio.get_running_loop().time()
        self.watched = {port: self.watched[port] for port in self.ports if port in self.watched}

    async def _look_at(self, ports: list[Port]) -> None:
        stops: dict[int, int] = {}
        names: dict[int, str] = {}
        pids = {port.number: port.pid for port in ports if port.pid}
        try:
            for port in ports:
                if (name := tap.name_of(port.tap)) and not _is_moving(port):
                    stops[port.number], names[port.number] = tap.namespace(port.tap), name
            work = asyncio.get_running_loop().run_in_executor(self.thread, _tour, stops, names, pids)
        except BaseException:
            close_all(list(stops.values()))
            stops.clear()  # an executor that could start no thread keeps the work, and does it when it can
            raise
        found, stopped = await work
        for port in ports:
            if self.ports.by_number.get(port.number) is port:
                self._note(port, found.get(port.number), port.number in stopped)

    def _note(self, port: Port, now: Seen | None, is_stopped: bool) -> None:
        watched = self.watched.setdefault(port, Watched())
        if now is not None:
            watched.dropped = watched.dropped or was_set_down(watched.last, now)
            watched.last = now
        before = {each.kind for each in port.drift}
        port.looked_at(now, self._drift(port, now), is_stopped)
        if now is not None:
            self._name(port, watched, before, now)

    def _name(self, port: Port, watched: Watched, before: set[Kind], seen: Seen) -> None:
        """Log what is new and is left as it is: a line for each kind, and not again and again."""
        mended = to_mend(port.drift, seen, port.spec.owns_netns, watched.dropped)
        for each in port.drift:
            if each.kind in before or each in mended:
                continue
            fight = watched.named.setdefault(each.kind, Fight())
            if fight.note(asyncio.get_running_loop().time(), is_refused=False) <= 2:
                log.warning("partition %s %s", port.spec.name, each.text)
            before.add(each.kind)

    def _drift(self, port: Port, now: Seen | None) -> list[Drift]:
        """What is otherwise than declared; nothing while somebody is changing it."""
        if now is None or not port.is_member or port.is_under_way or port.lock.locked():
            return []
        return drift(port.spec, port.following.mtu if self.mtu_is_known(port) else None, now)

    # -------------------------------------------------------------------------------------- putting back

    def _has_to_mend(self, port: Port) -> bool:
        """Whether something is to be put back now."""
        watched = self.watched.get(port)
        if watched is None or port.seen is None:
            return False
        if not port.drift:
            watched.dropped = False
            return False
        now = asyncio.get_running_loop().time()
        wanted = to_mend(port.drift, port.seen, port.spec.owns_netns, watched.dropped)
        return any(watched.is_due(each, now) for each in wanted)

    async def _mend(self, port: Port) -> None:
        if port.lock.locked():
            return  # the next look comes soon
        watched = self.watched[port]
        async with port.lock:
            if not port.is_member or port.tap < 0:
                return
            now = asyncio.get_running_loop().time()
            try:
                outcome = await self.kernel(lambda: self._mend_now(port, watched, now))
            except (VnicdError, OSError, RuntimeError):
                return  # its interface or its namespace has just gone, which is mended otherwise; or no descriptors
        self._tell(port, watched, outcome, now)

    def _mend_now(self, port: Port, watched: Watched, now: float) -> mending.Outcome:
        """In the kernel thread, as is what changes the MTU that it is to have."""
        mtu = port.following.mtu if self.mtu_is_known(port) else None
        return mending.mend(port.spec, port.tap, mtu, watched.dropped, lambda each: watched.is_due(each, now))

    def _tell(self, port: Port, watched: Watched, outcome: mending.Outcome, now: float) -> None:
        """Log each thing once, and once more that it comes again and again."""
        words = [(each, "put back", False) for each in outcome.mended]
        words += [(each, f"can't be put back: {reason}", True) for each, reason in outcome.refused]
        said: dict[tuple[Kind, bool], int] = {}
        for each, word, is_refused in words:
            key = each.kind, watched.is_dropped(each)
            if key not in said:
                said[key] = watched.fight(each).note(now, is_refused)
            if said[key] <= 2:
                again = "; so it goes again and again, which is not logged any more" if said[key] == 2 else ""
                log.warning("partition %s %s: %s%s", port.spec.name, each.text, word, again)
        port.was_mended(len(outcome.mended))
        watched.dropped = watched.dropped and bool(outcome.refused)


def _is_moving(port: Port) -> bool:
    """Whether somebody is about to move an interface that was handed over: what it has meanwhile is no matter."""
    return port.spec.handover and (port.home is None or not tap.is_at_home(port.tap, port.home))


def _tour(
    stops: dict[int, int], names: dict[int, str], pids: dict[int, int]
) -> tuple[dict[int, Seen], set[int]]:
    """What interfaces have, by port, and the ports whose daemons are stopped. Takes the stops' descriptors over."""
    try:
        found = netns.tour(stops, lambda number: seen.look(names[number]))
    finally:
        close_all(list(stops.values()))
    stopped = {number for number, pid in pids.items() if process.is_stopped(pid)}
    return {number: each for number, each in found.items() if each is not None}, stopped
