"""Applies a declared fabric to the running one: the planner's changes one by one, each with what came of it.

A change that fails keeps none of the others from being made, and applying the same again makes up for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from vnicd.errors import Invalid, VnicdError
from vnicd.host.fabric import Fabric
from vnicd.host.ports.port import Port
from vnicd.spec import fabric_file
from vnicd.spec.addresses import host
from vnicd.spec.fabric_file import Declared
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.plan import Change, changes, left_empty
from vnicd.spec.uplink import UplinkSpec

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Partitions that are added or removed at the same time; the start of a daemon is work for a CPU."""

LATER = "takes effect when vnicd is restarted"


@dataclass
class Outcome:
    change: Change
    done: bool = False
    error: VnicdError | None = None

    def to_json(self) -> dict[str, Any]:
        change, error = self.change, self.error
        about = {"code": error.code, "message": error.message, "hint": error.hint} if error else None
        return {
            "op": change.op,
            "kind": change.kind,
            "name": change.name,
            "fields": {key: list(values) for key, values in change.fields.items()},
            "done": self.done,
            "error": about,
            "note": LATER if change.kind == "option" else "",
        }


class Applier:
    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.lock = asyncio.Lock()

    # -------------------------------------------------------------------------------------- methods

    async def apply_method(self, params: dict[str, Any]) -> Any:
        unknown = set(params) - {"declared", "dry_run", "allow_empty"}
        dry_run, allow_empty = params.get("dry_run", False), params.get("allow_empty", False)
        if unknown or "declared" not in params or {type(dry_run), type(allow_empty)} != {bool}:
            text = 'apply takes "declared", a fabric, and "dry_run" and "allow_empty", each true or false'
            raise Invalid(text)
        declared = fabric_file.from_json(params["declared"])
        outcomes = await self.apply(declared, dry_run, allow_empty=allow_empty)
        kept = [] if allow_empty or declared.is_something else self._all_names()
        return {"changes": [outcome.to_json() for outcome in outcomes], "kept": kept}

    async def export_method(self, params: dict[str, Any]) -> Any:
        return {"declared": fabric_file.to_json(self.actual())}

    async def apply_at_start(self, declared: Declared, stop: asyncio.Event) -> None:
        """Apply what was declared before anybody could ask; what fails is logged. It ends early when `stop` is set."""
        work = asyncio.ensure_future(self.apply(declared, absent_nic=True))
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
        options = replace(fabric.options, units=False)
        return self._without_default_macs(Declared(options, uplink, specs, left_empty(uplink, specs)))

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
        dry_run: bool = False,
        absent_nic: bool = False,
        allow_empty: bool = False,
    ) -> list[Outcome]:
        """The changes that lead to the declared fabric, and what came of each.

        What names no uplink and no partition removes none, unless `allow_empty`: a file that was lost or commented out
        is likelier than somebody who wants nothing to be left. With `absent_nic` the uplink's NIC may come later.
        """
        async with self.lock:
            self.fabric.check_ready()
            desired = self._without_default_macs(declared)
            may_remove = allow_empty or desired.is_something
            others = [text for port in self._ports() if port.spec.owner for text in port.spec.addresses]
            wanted = changes(desired, self.actual(), others)
            outcomes = [Outcome(change) for change in wanted if change.op != "remove" or may_remove]
            if not dry_run:
                await self._remove(outcomes)
                await self._release(outcomes)
                await self._set_uplink(outcomes, desired.uplink, absent_nic)
                await self._reconfigure(outcomes)
                await self._add(outcomes, desired)
                await self.fabric.uplink.mend()
            return outcomes

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

    async def _set_uplink(self, outcomes: list[Outcome], spec: UplinkSpec | None, absent_nic: bool) -> None:
        for each in outcomes:
            if each.change.kind == "uplink":
                fabric = self.fabric
                await self._note(
                    each, fabric.clear_uplink() if spec is None else fabric.set_uplink(spec, absent_nic)
                )

    async def _reconfigure(self, outcomes: list[Outcome]) -> None:
        for each in _of(outcomes, "change"):
            if each.change.partition is not None:
                await self._note(each, self._reconfigure_one(each.change.partition))

    async def _reconfigure_one(self, spec: PartitionSpec) -> None:
        port = self.fabric.ports.get(spec.name)
        await self.fabric.reconfigure(port, _checked(replace(spec, mac=port.spec.mac)))

    async def _add(self, outcomes: list[Outcome], desired: Declared) -> None:
        """What is new, and what is made anew, unless the old one could not be removed."""
        bare = {name for name, _ in desired.empty}
        await _together(
            self._note(each, self._add_one(each.change.partition, each.change.name in bare))
            for each in _of(outcomes, "add", "replace")
            if each.change.partition is not None and each.error is None
        )

    async def _add_one(self, spec: PartitionSpec, is_bare: bool) -> None:
        """Addresses that the planner could not find are asked for once more, for the reason."""
        await self.fabric.add(_checked(spec), is_whole=is_bare)

    async def _note(self, outcome: Outcome, work: Awaitable[object], is_last: bool = True) -> None:
        """Do it, and note what came of it; the first error counts."""
        try:
            await work
        except (VnicdError, OSError) as error:
            found = error if isinstance(error, VnicdError) else VnicdError(str(error))
            change = outcome.change
            log.error("%s %s %s: %s", change.op, change.kind, change.name, found.line())
            outcome.error = outcome.error or found
        outcome.done = is_last and outcome.error is None


def _of(outcomes: list[Outcome], *ops: str) -> list[Outcome]:
    return [each for each in outcomes if each.change.kind == "partition" and each.change.op in ops]


def _specs(outcomes: list[Outcome]) -> list[PartitionSpec]:
    return [each.change.partition for each in outcomes if each.change.partition is not None]


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
