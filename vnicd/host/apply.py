"""Applies a declared fabric to the running one: the planner's changes one by one, each with what came of it.

All of them are checked before the first is made. If one can't be, none is, except at the start of the hosting daemon:
there what can be made is. A change that fails in spite of the check keeps none of the others from being made, and
applying the same again makes up for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from vnicd.config import NETWORK_OPTIONS, option_words
from vnicd.errors import Invalid, VnicdError
from vnicd.host.checker import Checker
from vnicd.host.fabric import Fabric
from vnicd.host.ports.port import Port
from vnicd.spec import fabric_file
from vnicd.spec.addresses import host
from vnicd.spec.fabric_file import Declared
from vnicd.spec.obstacles import Aim
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.plan import Change, altered, changes, left_empty, settle
from vnicd.spec.pool import pool_of
from vnicd.spec.uplink import UplinkSpec

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Partitions that are added or removed at the same time; the start of a daemon is work for a CPU."""

LATER = "takes effect when vnicd is restarted"
"""Of options: the hosting daemon reads them from its file when it starts."""


@dataclass
class Outcome:
    change: Change
    done: bool = False
    error: VnicdError | None = None
    """Why it failed; the first error counts."""
    obstacles: list[VnicdError] = field(default_factory=list)
    """Why it can't be made, found before anything was changed."""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        change = self.change
        return {
            "op": change.op,
            "kind": change.kind,
            "name": change.name,
            "fields": {key: list(values) for key, values in change.fields.items()},
            "done": self.done,
            "error": _about(self.error) if self.error else None,
            "obstacles": [_about(error) for error in self.obstacles],
            "note": self.note,
        }


def _about(error: VnicdError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}


class Applier:
    def __init__(self, fabric: Fabric, reads_file: bool = False) -> None:
        self.fabric = fabric
        self.reads_file = reads_file
        """Whether the hosting daemon is started with a file, as by systemd, which `vnicctl up` does not."""
        self.checker = Checker(fabric)
        self.lock = asyncio.Lock()

    # -------------------------------------------------------------------------------------- methods

    async def apply_method(self, params: dict[str, Any]) -> Any:
        unknown = set(params) - {"declared", "dry_run", "allow_empty"}
        dry_run, allow_empty = params.get("dry_run", False), params.get("allow_empty", False)
        if unknown or "declared" not in params or {type(dry_run), type(allow_empty)} != {bool}:
            text = 'apply takes "declared", a fabric, and "dry_run" and "allow_empty", each true or false'
            raise Invalid(text)
        declared = fabric_file.from_json(params["declared"])
        outcomes = await self.apply(declared, dry_run=dry_run, allow_empty=allow_empty)
        kept = [] if allow_empty or declared.is_something else self._all_names()
        return {
            "changes": [outcome.to_json() for outcome in outcomes],
            "kept": kept,
            "refused": any(outcome.obstacles for outcome in outcomes),
        }

    async def export_method(self, params: dict[str, Any]) -> Any:
        return {"declared": fabric_file.to_json(self.actual())}

    async def set_method(self, params: dict[str, Any]) -> Any:
        """What is not named stays as it is by then; so this waits for an apply, and for others of its kind."""
        words = {key: value for key, value in params.items() if key != "name"}
        async with self.lock:
            self.fabric.check_ready()
            port = self.fabric.ports.get(params.get("name"))
            before = port.to_json()
            spec = altered(port.spec, words)
            await self.checker.check_change(port, spec)
            await self.fabric.reconfigure(port, spec)
            return {**port.to_json(), "before": before}

    async def apply_at_start(self, declared: Declared, stop: asyncio.Event) -> None:
        """Apply what was declared before anybody could ask; what fails is logged. It ends early when `stop` is set.

        Nobody is there to mend the file, so what can be made is; and the uplink's NIC may come later.
        """
        work = asyncio.ensure_future(self.apply(declared, at_start=True))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
        elif error := work.exception():
            log.error("the declared fabric can't be applied: %s", error)

    # --------------------------------------------------------------------------------------- the work

    def actual(self) -> Declared:
        """The fabric as a file would declare it, without what somebody else manages."""
        fabric = self.fabric
        specs = {port.spec.name: port.spec for port in self._ports() if not port.spec.owner}
        uplink = fabric.uplink.spec
        if uplink is not None:
            others = {port.spec.name for port in self._ports() if port.spec.owner}
            kept = tuple(each for each in uplink.publish if each.name not in others)
            uplink = replace(uplink, publish=kept)
        options = replace(fabric.options, units=False)
        pool = pool_of(uplink, options)
        return self._without_default_macs(Declared(options, uplink, specs, left_empty(pool, specs)))

    def _ports(self) -> list[Port]:
        return [port for port in self.fabric.ports if not port.is_being_removed]

    def _without_default_macs(self, declared: Declared) -> Declared:
        """A MAC that follows from the name need not be told, and makes no difference if it is."""
        specs = {
            name: replace(spec, mac="") if spec.mac == self.fabric.ports.default_mac(name) else spec
            for name, spec in declared.partitions.items()
        }
        return replace(declared, partitions=specs)

    async def apply(
        self,
        declared: Declared,
        *,
        dry_run: bool = False,
        at_start: bool = False,
        allow_empty: bool = False,
    ) -> list[Outcome]:
        """The changes that lead to the declared fabric, and what came of each.

        What names no uplink and no partition removes none, unless `allow_empty`: a file that was lost or commented out
        is likelier than somebody who wants nothing to be left. Nor does the start of a network, whose file declares
        the network itself: its partitions come from runtimes and by hand.
        """
        async with self.lock:
            self.fabric.check_ready()
            desired, actual = self._without_default_macs(declared), self.actual()
            is_network_start = at_start and bool(self.fabric.paths.network)
            may_remove = allow_empty or (desired.is_something and not is_network_start)
            others = {port.spec.name: port.spec for port in self._ports() if port.spec.owner}
            taken = [text for spec in others.values() for text in spec.addresses]
            wanted = changes(desired, actual, taken)
            outcomes = [
                Outcome(change, note=self._note_of(change))
                for change in wanted
                if change.op != "remove" or may_remove
            ]
            bare = {name for name, key in desired.empty if key == "addresses"}
            aim = self.checker.aim({**others, **settle(desired, actual, taken)}, desired.uplink, bare)
            if at_start:
                await self._leave_out(outcomes, aim)
            else:
                await self._check(outcomes, aim)
            if dry_run or any(each.obstacles and each.error is None for each in outcomes):
                return outcomes
            await self._remove(outcomes)
            await self._release(outcomes)
            await self._set_uplink(outcomes, desired.uplink, may_be_absent=at_start)
            await self._reconfigure(outcomes)
            await self._add(outcomes, desired)
            await self._bring_back(outcomes, actual)
            await self.fabric.uplink.mend()
            return outcomes

    def _note_of(self, change: Change) -> str:
        """What is to be done for an option, which nothing here can change."""
        if change.kind != "option":
            return ""
        if self.reads_file:
            return LATER
        if change.name in NETWORK_OPTIONS:
            return "not changed: that is for networks; see: vnicctl network add --help"
        words = option_words(change.name, change.fields[change.name][1])
        return f"not changed: vnicctl down, then vnicctl up {words}"

    async def _check(self, outcomes: list[Outcome], aim: Aim, may_be_absent: bool = False) -> None:
        """Note what is in the way of each change."""
        wanted = [each.change for each in outcomes]
        for change, error in await self.checker.obstacles(wanted, aim, may_be_absent):
            next(each for each in outcomes if each.change is change).obstacles.append(error)

    async def _leave_out(self, outcomes: list[Outcome], aim: Aim) -> None:
        """Fail what can't be made, so that the rest can go on."""
        try:
            await self._check(outcomes, aim, may_be_absent=True)
        except (VnicdError, OSError) as error:  # then each change finds out by itself
            log.warning("the changes can't be checked before they are made: %s", error)
        for each in outcomes:
            for obstacle in each.obstacles:
                _fail(each, obstacle)

    def _all_names(self) -> list[str]:
        """What an empty declaration leaves as it is: the uplink and the partitions."""
        actual = self.actual()
        return [*(["the uplink"] if actual.uplink is not None else []), *actual.partitions]

    async def _remove(self, outcomes: list[Outcome]) -> None:
        """What goes, and what is to be made anew."""
        await _together(
            self._note(each, self._remove_one(each.change.name), is_last=each.change.op == "remove")
            for each in _of(outcomes, "remove", "replace")
        )

    async def _remove_one(self, name: str) -> None:
        await self.fabric.remove(self.fabric.ports.get(name))

    async def _release(self, outcomes: list[Outcome]) -> None:
        """Take addresses away from their partitions before others, or the uplink, can be given them."""
        moving = {each.change.name: each.change.partition for each in _of(outcomes, "change")}
        wanted = {host(text) for spec in _specs(outcomes) for text in spec.addresses}
        for each in outcomes:
            subnets = each.change.fields.get("subnets", (None, None))[1] or ()
            wanted |= {host(text) for text in subnets}
        for each in _of(outcomes, "change"):
            port = self.fabric.ports.by_name.get(each.change.name)
            spec = moving[each.change.name]
            if port is None or spec is None:
                continue
            own = {host(text) for text in spec.addresses}
            kept = tuple(
                text for text in port.spec.addresses if host(text) in own or host(text) not in wanted
            )
            if kept != port.spec.addresses:
                between = replace(port.spec, addresses=kept)
                await self._note(each, self.fabric.reconfigure(port, between), is_last=False)

    async def _set_uplink(
        self, outcomes: list[Outcome], spec: UplinkSpec | None, may_be_absent: bool
    ) -> None:
        for each in outcomes:
            if each.change.kind == "uplink" and each.error is None:
                fabric = self.fabric
                await self._note(
                    each, fabric.clear_uplink() if spec is None else fabric.set_uplink(spec, may_be_absent)
                )

    async def _reconfigure(self, outcomes: list[Outcome]) -> None:
        for each in _of(outcomes, "change"):
            if each.change.partition is not None:
                await self._note(each, self._reconfigure_one(each.change.partition))

    async def _reconfigure_one(self, spec: PartitionSpec) -> None:
        port = self.fabric.ports.get(spec.name)
        await self.fabric.reconfigure(port, _checked(replace(spec, mac=port.spec.mac)))

    async def _add(self, outcomes: list[Outcome], desired: Declared) -> None:
        """What is new, and what is made anew, unless the old one could not be removed.

        Those that attach a namespace come last: it may be one that another of them makes.
        """
        bare = {name for name, _ in desired.empty}
        for owns_netns in (True, False):
            await _together(
                self._note(each, self._add_one(each.change.partition, each.change.name in bare))
                for each in _of(outcomes, "add", "replace")
                if each.change.partition is not None and each.change.partition.owns_netns == owns_netns
            )

    async def _add_one(self, spec: PartitionSpec, is_bare: bool) -> None:
        """Addresses that the planner could not find are asked for once more, for the reason."""
        await self.fabric.add(_checked(spec), is_whole=is_bare)

    async def _bring_back(self, outcomes: list[Outcome], actual: Declared) -> None:
        """What was removed to be made anew, and could not be, is made as it was; programs in its namespace are not."""
        for each in outcomes:
            spec = actual.partitions.get(each.change.name)
            is_lost = each.change.op == "replace" and each.change.name not in self.fabric.ports.by_name
            if each.error is not None and spec is not None and is_lost:
                await self._note(each, self.fabric.add(spec, is_whole=True))

    async def _note(self, outcome: Outcome, work: Awaitable[object], is_last: bool = True) -> None:
        """Do it, and note what came of it; the first error counts."""
        try:
            await work
        except (VnicdError, OSError) as error:
            _fail(outcome, error if isinstance(error, VnicdError) else VnicdError(str(error)))
        outcome.done = is_last and outcome.error is None


def _fail(outcome: Outcome, error: VnicdError) -> None:
    change = outcome.change
    log.error("%s %s %s: %s", change.op, change.kind, change.name, error.line())
    outcome.error = outcome.error or error


def _of(outcomes: list[Outcome], *ops: str) -> list[Outcome]:
    """Those of partitions that have not failed yet."""
    return [
        each
        for each in outcomes
        if each.change.kind == "partition" and each.change.op in ops and each.error is None
    ]


def _specs(outcomes: list[Outcome]) -> list[PartitionSpec]:
    specs = (each.change.partition for each in outcomes if each.error is None)
    return [spec for spec in specs if spec is not None]


def _checked(spec: PartitionSpec) -> PartitionSpec:
    """A spec that was filled in; Invalid when that does not suit it, as IPv6 addresses a small MTU."""
    return PartitionSpec.from_json(spec.to_json())


async def _together(works: Iterable[Awaitable[None]]) -> None:
    """A few at a time; they begin in their order."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(work: Awaitable[None]) -> None:
        async with limit:
            await work

    await asyncio.gather(*(one(work) for work in works))
