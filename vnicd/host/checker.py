"""Checks changes before the first of them is made: what is in their way on the machine as it is now.

Theory of operation. A change that the machine refuses is undone, but what was removed for it before does not come
back as it was. So all changes of a request are looked at together first: survey.py looks at the machine in the kernel
thread, spec/obstacles.py judges. What changes between this look and a change is found by the change itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from vnicd.errors import Exists, Invalid, VnicdError
from vnicd.host.fabric import Fabric
from vnicd.host.ports.port import Port
from vnicd.host.reconfigure import DESCRIPTORS
from vnicd.host.survey import Going, Survey
from vnicd.kernel import tap
from vnicd.kernel.limits import descriptors
from vnicd.spec.obstacles import Aim, Obstacle, obstacles
from vnicd.spec.partition import PartitionSpec
from vnicd.spec.plan import Change
from vnicd.spec.pool import pool_of
from vnicd.spec.uplink import UplinkSpec

log = logging.getLogger(__name__)


class Checker:
    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric

    # ---------------------------------------------------------------------------------- single requests

    async def check_addition(self, spec: PartitionSpec) -> None:
        """The errors of all that is in the way of a new partition, as one."""
        self.fabric.ports.check_new(spec)
        errors: list[VnicdError] = []
        try:
            spec = self.fabric.uplink.complete(spec)
        except Invalid as error:
            errors.append(error)
        errors += await self._of_partition(Change("add", "partition", spec.name, partition=spec))
        _raise_all(errors)

    async def check_change(self, port: Port, spec: PartitionSpec) -> None:
        port.check_member()
        descriptors.check_room(DESCRIPTORS, "a change")
        _raise_all(await self._of_partition(Change("change", "partition", spec.name, partition=spec)))

    async def check_uplink(self, spec: UplinkSpec) -> None:
        aim = self._aim({}, spec)
        change = Change("change", "uplink", spec.nic or spec.mode)
        _raise_all(error for _, error in await self.obstacles([change], aim))

    async def _of_partition(self, change: Change) -> list[VnicdError]:
        spec = change.partition
        assert spec is not None, "it is a partition's"
        aim = self._aim({spec.name: spec}, self.fabric.uplink.spec)
        return [error for _, error in await self.obstacles([change], aim)]

    def _aim(self, changed: Mapping[str, PartitionSpec], uplink: UplinkSpec | None) -> Aim:
        """What there is, with these partitions in it."""
        specs = {port.spec.name: port.spec for port in self.fabric.ports if not port.is_being_removed}
        bare = frozenset(name for name, spec in specs.items() if not spec.addresses) | set(changed)
        return self.aim({**specs, **changed}, uplink, bare)

    # ---------------------------------------------------------------------------------------- all of it

    def aim(
        self, specs: Mapping[str, PartitionSpec], uplink: UplinkSpec | None, bare: Iterable[str] = ()
    ) -> Aim:
        ports = self.fabric.ports
        whole = {
            name: spec if spec.mac else replace(spec, mac=ports.default_mac(name))
            for name, spec in specs.items()
        }
        leaving = sum(port.is_being_removed and port.spec.name not in specs for port in ports)
        pool = pool_of(uplink, self.fabric.options)
        return Aim(whole, uplink, frozenset(bare), pool, leaving)

    async def obstacles(self, changes: list[Change], aim: Aim, may_be_absent: bool = False) -> list[Obstacle]:
        """All that is in the way of these changes, which lead to `aim`."""
        found = self._unsettled(changes)
        survey = self._survey(changes, aim)
        machine = await self.fabric.actions.kernel(survey.run)
        found += await self._of_published(changes, aim, may_be_absent)
        # Of a large fabric it is work for 0.2 s, and others want to be served meanwhile.
        more = await asyncio.to_thread(obstacles, changes, aim, machine, may_be_absent)
        # What is there already is in its own way: its namespace, its interface.
        there = [change for change, error in found if isinstance(error, Exists)]
        return found + [each for each in more if not any(each[0] is change for change in there)]

    async def _of_published(self, changes: list[Change], aim: Aim, only_log: bool) -> list[Obstacle]:
        """When the machine starts, addresses may still come, and an uplink is worth more than one of its ports."""
        change = next((each for each in changes if each.kind == "uplink"), None)
        if change is None or aim.uplink is None:
            return []
        errors = await self.fabric.uplink.published_obstacles(aim.uplink, aim.partitions)
        if not only_log:
            return [(change, error) for error in errors]
        for error in errors:
            log.warning("%s", error.line())
        return []

    def _unsettled(self, changes: list[Change]) -> list[Obstacle]:
        """Another request is just at a partition that is to change, or somebody else manages one of the name."""
        found: list[Obstacle] = []
        for change in changes:
            port = self.fabric.ports.by_name.get(change.name) if change.kind == "partition" else None
            try:
                if port is not None:
                    port.check_member()
                if change.op == "add" and port is not None and port.spec.owner:
                    text = f"{change.name} belongs to {', '.join(port.spec.owner)}"
                    hint = f"take it out of the file, or: vnicctl partition remove {change.name}"
                    raise Exists(text, hint)
                if change.op == "add" and change.partition is not None:
                    self.fabric.ports.check_new(change.partition)
            except VnicdError as error:
                found.append((change, error))
        return found

    def _survey(self, changes: list[Change], aim: Aim) -> Survey:
        fabric = self.fabric
        uplink, ports = fabric.uplink, fabric.ports
        ops = {each.name: each.op for each in changes if each.kind == "partition"}
        going = [
            Going(port.spec, tap.name_of(port.tap) or port.spec.ifname, port.home)
            for port in ports
            if ops.get(port.spec.name) in ("remove", "replace")
        ]
        own = {str(each.ip) for each in uplink.spec.own_addresses} if uplink.spec is not None else set()
        return Survey(
            root=fabric.paths.root,
            known=[port.spec for port in ports],
            going=going,
            new=[spec for name, spec in aim.partitions.items() if ops.get(name) in ("add", "replace")],
            uplink=aim.uplink,
            is_changing=any(each.kind == "uplink" for each in changes),
            nic_index=uplink.resources.locked,
            ifname=uplink.resources.ifname,
            gateway_mac=uplink.mac,
            routed=[text for text in aim.routed() if text not in own],
            counts_hugepages=fabric.options.hugepages == "require",
        )


def _raise_all(errors: Iterable[VnicdError]) -> None:
    """Raise them as one, of the kind of the first; none is told twice."""
    found = list({error.message: error for error in errors}.values())
    if len(found) == 1:
        raise found[0]
    if found:
        raise type(found[0])("; ".join(error.message for error in found))
