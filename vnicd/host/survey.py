"""Looks at the machine for what could stand in the way of changes. Blocking; run in the kernel thread."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from vnicd.errors import Busy, Invalid, NoNamespace, VnicdError
from vnicd.host.partitions import kernel_ops, leftovers
from vnicd.kernel import interface, netns, nic, vnic
from vnicd.kernel.firewall import nftables
from vnicd.kernel.limits import hugepages
from vnicd.spec.obstacles import Machine, Nic
from vnicd.spec.partition import MTU_MAX, PartitionSpec
from vnicd.spec.uplink import UplinkSpec

Place = tuple[netns.Identity | str, str]
"""A namespace, by its path if it is yet to be made, and an interface's name in it."""


@dataclass(frozen=True)
class Going:
    """A partition of ours that is removed first, also if it is made anew."""

    spec: PartitionSpec
    ifname: str
    """What its interface is called by now."""
    home: netns.Home | None = None
    """What its namespace is known by, if that is somebody else's."""

    @property
    def where(self) -> netns.Identity | None:
        return self.home.identity if self.home is not None else netns.identity(self.spec.netns_path)


@dataclass(frozen=True)
class Survey:
    """What is to be looked at."""

    root: Path
    known: Sequence[PartitionSpec]
    """All partitions that there are now."""
    going: Sequence[Going] = ()
    new: Sequence[PartitionSpec] = ()
    """Those that will be made, also anew."""
    uplink: UplinkSpec | None = None
    """The one that will be."""
    is_changing: bool = False
    """Whether that is another one than there is."""
    nic_index: int = 0
    """Of the NIC that this fabric has already, 0 for none."""
    ifname: str = ""
    """Port 0's interface, if there is one."""
    gateway_mac: str = ""
    routed: Collection[str] = ()
    """Addresses, without prefix lengths, that the machine needs a route to."""
    counts_hugepages: bool = False

    def run(self) -> Machine:
        return Machine(
            nic=self._nic() if self.uplink is not None else None,
            gateway_mac=self.gateway_mac,
            networks=self._networks(),
            hugepages=hugepages.available() if self.counts_hugepages and self.new else None,
            elsewhere=vnic.elsewhere(self.ifname, self.routed) if self.routed else {},
            places=self._places(),
            uplink=self._firewall() if self.is_changing else None,
        )

    def _nic(self) -> Nic | None:
        assert self.uplink is not None, "there is one to look at"
        facts = nic.look(self.uplink.nic) if self.uplink.nic else None
        if facts is None:
            return None
        error: VnicdError | None = None
        if not facts.ethernet or self.uplink.nic == self.ifname:
            error = Invalid(f"{self.uplink.nic} is no network adapter", "name one of those in: ip link")
            return Nic(facts.name, "", MTU_MAX, obstacle=error)  # what else it is does not matter
        if facts.index != self.nic_index:
            try:
                nic.check_unclaimed(facts.index, facts.name, self.uplink.mode == "nat")
            except Busy as found:
                error = found
        return Nic(facts.name, facts.mac, facts.mtu, facts.addresses, error)

    def _networks(self) -> list[tuple[str, str]]:
        """In nat mode the NIC's are looked at by themselves, and those of other interfaces but ours are the user's."""
        if self.uplink is None or not self.is_changing or self.uplink.is_like_nic:
            return []
        others = [each for each in nic.networks() if each[0] != self.ifname]
        return [each for each in others if self.uplink.mode == "none" or vnic.is_vnic(each[0])]

    def _firewall(self) -> VnicdError | None:
        """Why the uplink can't have the rules that it needs."""
        if self.uplink is None or self.uplink.mode in ("bridge", "none"):
            return None
        try:
            nftables.check()
        except VnicdError as error:
            return error
        return None

    # ------------------------------------------------------------------------------------------- places

    def _places(self) -> dict[str, VnicdError]:
        found: dict[str, VnicdError] = {}
        freed = {(each.where, each.ifname) for each in self.going}
        made = {spec.netns_path for spec in self.new if spec.owns_netns}
        owners: dict[Place, str] = {}
        for spec in sorted(self.new, key=lambda spec: not spec.owns_netns):
            try:
                place = self._own_place(spec) if spec.owns_netns else self._attached(spec, made, freed)
                if place in owners:
                    text = f"partition {owners[place]} gets the interface {spec.ifname} in {spec.netns_path}"
                    raise Busy(text, "use another --ifname")
                owners[place] = spec.name
            except VnicdError as error:
                found[spec.name] = error
        return found

    def _own_place(self, spec: PartitionSpec) -> Place:
        """Exists when its namespace can't be made. What an earlier fabric has left there is taken away."""
        ours = any(each.spec.owns_netns and each.spec.name == spec.name for each in self.going)
        if not ours and Path(spec.netns_path).exists():
            left = leftovers.find(self.root, self.known, spec.name)
            for each in left:
                leftovers.check_uninhabited(each)
            if not any(each.namespace for each in left):
                kernel_ops.check_free(spec)
        return spec.netns_path, spec.ifname

    def _attached(
        self, spec: PartitionSpec, made: set[str], freed: set[tuple[netns.Identity | None, str]]
    ) -> Place:
        """NoNamespace when there is none, or none any more by then; Busy when the interface's name is in use."""
        path = spec.netns_path
        if path in made:
            return path, spec.ifname
        names = netns.inside(path, interface.names)
        where = netns.identity(path)
        if where is None:
            raise NoNamespace(f"the namespace at {path} has just gone")
        for each in self.going:
            if each.spec.owns_netns and each.where == where:
                text = f"the namespace at {path} goes with the partition {each.spec.name}"
                raise NoNamespace(text, "vnicd has made it; attach one that stays")
        if spec.ifname in names and (where, spec.ifname) not in freed:
            raise kernel_ops.interface_taken(spec)
        return where, spec.ifname
