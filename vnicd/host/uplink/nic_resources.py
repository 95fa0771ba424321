"""What an uplink holds of this machine, brought in line with what is wanted. Blocking; run in the kernel thread.

Theory of operation. There is one way for all changes: bring() looks at the NIC and makes everything so as it
should be now - the lock on the NIC, port 0's interface with its addresses and routes, packet sockets with their
program and memberships, firewall table, forwarding. It is called when the user sets an uplink, when a partition
comes or goes, and whenever the kernel tells of a change of an interface or address; what is in order is not
touched. What is in order is not remembered but looked up, as others may have taken it away; what was there before and
had to be made again is told in `repaired`. All that the kernel does not take back by itself when we are killed
(firewall table, forwarding) can be found again by its name, so that the next hosting daemon, or `down`, makes up for
it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vnicd.errors import VnicdError
from vnicd.kernel import nic, packet_socket, tap, vnic
from vnicd.kernel.firewall import conntrack, nftables
from vnicd.kernel.forwarding import Forwarding, Loopback, forwards, machine_forwards, settle
from vnicd.kernel.interface import index_of
from vnicd.kernel.nic import Facts
from vnicd.packet import announcement, fanout_filter, nft_rules
from vnicd.packet.nft_listing import Blocker
from vnicd.packet.nft_rules import Datagrams
from vnicd.spec.addresses import alone, check_uplink, host, link_local, within
from vnicd.spec.partition import MTU_DEFAULT, MTU_MAX, MTU_MIN, MTU_MIN_IPV6
from vnicd.spec.uplink import UplinkSpec

log = logging.getLogger(__name__)

RX_QUEUES = 32
"""Packet sockets that inbound frames are spread over (MAX_RX_QUEUES in cext/datapath/state/state.pxd)."""

LOOK_FACTOR = 20
"""Looking at the rules of others takes at most one part in so many of the time: there may be thousands of them."""


@dataclass(frozen=True)
class Wanted:
    """The uplink and the partitions that use it."""

    spec: UplinkSpec
    own_mac: str
    """Of port 0's interface in nat mode and without a NIC; else it has the NIC's."""
    macs: Mapping[int, str]
    addresses: Mapping[int, tuple[str, ...]]
    """CIDR texts of each port."""
    names: Mapping[str, int]

    def mac(self, facts: Facts | None) -> str:
        """Of port 0's interface."""
        return self.own_mac if not self.spec.is_like_nic or facts is None else facts.mac

    @property
    def hosts(self) -> dict[str, int]:
        """The port of each address, without prefix length."""
        return {host(text): port for port, texts in self.addresses.items() for text in texts}


@dataclass
class NicResources:
    """`table` names the firewall table, which is this fabric's own."""

    table: str
    lock: int = -1
    locked: int = 0
    """Index of the NIC that the lock is for."""
    shares: bool = False
    """Whether other fabrics may have that NIC, too, as they may in nat mode."""
    vnic: int = -1
    ifname: str = ""
    sockets: list[int] = field(default_factory=list)
    """The rx queues and, last, the transmitting socket."""
    bound: tuple[int, bool] = (0, False)
    """Index and mode (shared) of the NIC that the sockets are for."""
    program: bytes = b""
    memberships: set[str] = field(default_factory=set)
    router: tuple[str, bool] = ("", False)
    """A NIC, and whether the machine forwarded what came in by it."""
    announced: set[tuple[str, str]] = field(default_factory=set)
    """MAC and address that the network was told of."""
    script: str = ""
    family: str = ""
    """Of the firewall table that the script has made."""
    listed: str = ""
    """That table as the script makes it; empty while that is not known for sure."""
    is_open: bool = False
    """Whether there should be rules in mode none, but there can be none."""
    has_opened_loopback: bool = False
    """Whether we have let packets from 127.0.0.0/8 go to port 0's interface."""
    datagrams: frozenset[Datagrams] = frozenset()
    """Published UDP ports that the table has rules for."""
    blockers: tuple[Blocker, ...] = ()
    """Chains of others that drop what nat mode forwards."""
    next_look: float = 0.0
    """When those are looked for again at the earliest."""
    stood: frozenset[str] = frozenset()
    """What was brought in order last, as it is told to people."""
    lacked: list[str] = field(default_factory=list)
    """What of it all bring() had to make, for the first time or again."""
    repaired: tuple[str, ...] = ()
    """What the last bring() had to make again, as somebody had taken it away."""
    forwarding: Forwarding | None = None
    between: tuple[str, str, bool] = ("", "", False)
    """What `forwarding` is for: port 0's interface, the NIC, IPv6 as well or not."""
    retired: list[int] = field(default_factory=list)
    """Descriptors that the loop may still use; whoever has told it of the new ones closes them."""

    def bring(self, wanted: Wanted) -> Facts | None:
        """Make all as it is wanted; what was found of the NIC, None when it is not there."""
        facts = nic.look(wanted.spec.nic) if wanted.spec.nic else None
        self.lacked, self.repaired = [], ()
        if (facts.index if facts is not None else 0) != self.locked:
            self.stood = frozenset()  # another NIC has nothing of all that yet
        self._hold(facts, wanted.spec.mode == "nat")
        if facts is not None or not wanted.spec.is_like_nic:
            own = facts.addresses if facts is not None else ()
            check_uplink(wanted.spec, wanted.mac(facts), own, wanted.macs.values(), wanted.hosts)
        stands = self._make_vnic(wanted, facts)
        if facts is None or not wanted.spec.is_like_nic:
            self._close_sockets()
        else:
            self._open_sockets(wanted, facts)
        stands += (
            self._load_fence(wanted) if wanted.spec.mode == "none" else self._load_firewall(wanted, facts)
        )
        stands += self._forward(wanted, facts)
        self._look_for_blockers(wanted, facts)
        self.repaired = tuple(each for each in self.lacked if each in self.stood)
        self.stood = frozenset(stands)
        return facts

    def release(self) -> None:
        """Give everything back; the loop must not use the sockets and the interface any more."""
        self._close_sockets()
        self.close_retired()
        if self.vnic >= 0:
            os.close(self.vnic)
            self.vnic, self.ifname = -1, ""
        if self.script:
            self._remove_firewall()
        if self.forwarding is not None:
            self.forwarding.release()
            self.forwarding = None
        self.stood, self.blockers, self.next_look = frozenset(), (), 0.0
        self._hold(None, False)

    def leave(self) -> None:
        """The hosting daemon ends and the uplink stays set: let the next one have the NIC."""
        if self.lock >= 0:
            nic.release(self.lock)
            self.lock, self.locked = -1, 0

    def shut_loopback(self) -> None:
        """Let nobody from outside come to 127.0.0.0/8 while the rules that forbid it may be gone."""
        if self.ifname:
            Loopback(self.ifname).allow(False)

    def close_retired(self) -> None:
        """All at once: for each packet socket the kernel waits some 20 ms until no CPU uses it any more."""
        if self.retired:
            with ThreadPoolExecutor(len(self.retired)) as pool:
                list(pool.map(os.close, self.retired))
            self.retired.clear()

    def _hold(self, facts: Facts | None, shares: bool) -> None:
        """Be the only fabric on this NIC, or one of those that share it: the kernel routes for as many as there are."""
        index = facts.index if facts is not None else 0
        if index != self.locked:
            lock = nic.claim(index, facts.name, shares) if facts is not None else -1
            if self.lock >= 0:
                nic.release(self.lock)
            self.lock, self.locked = lock, index
        elif facts is not None and shares != self.shares:
            nic.change_claim(self.lock, facts.name, shares)
        self.shares = shares

    def _make_vnic(self, wanted: Wanted, facts: Facts | None) -> list[str]:
        """Port 0's interface: the gateway, or the machine itself; else as if it were the NIC, for partitions only."""
        self.ifname = tap.name_of(self.vnic)
        is_new = index_of(self.ifname) is None
        if is_new:  # deleted, or moved to where we can't use it
            made, self.ifname = vnic.make_vnic()
            if self.vnic >= 0:
                self.retired.append(self.vnic)
            self.vnic = made
        own = tuple(map(str, wanted.spec.own_addresses))
        if wanted.spec.is_like_nic:
            own = alone(facts.addresses if facts else ())
        subnets = [each.network for each in wanted.spec.own_addresses]
        routes = [each for each in wanted.hosts if not any(within(each, subnet) for subnet in subnets)]
        least = MTU_MIN_IPV6 if any(":" in each for each in (*own, *routes)) else MTU_MIN
        mtu = min(MTU_MAX, max(least, facts.mtu)) if facts is not None else MTU_DEFAULT
        lacked = vnic.configure_vnic(self.ifname, wanted.mac(facts), mtu, tuple(own), tuple(routes))
        itself = f"interface {self.ifname}"
        self.lacked += [itself] if is_new else lacked
        return [itself, *vnic.items(self.ifname, own, routes)]

    def _open_sockets(self, wanted: Wanted, facts: Facts) -> None:
        shared = wanted.spec.mode == "shared"
        rx_queue = fanout_filter.assign(wanted.macs, RX_QUEUES)
        macs = {} if shared else {mac: rx_queue[port] for port, mac in wanted.macs.items()}
        hosts = {each: rx_queue[port] for each, port in wanted.hosts.items()} if shared else {}
        for port, mac in wanted.macs.items() if shared else ():
            hosts[link_local(mac)] = rx_queue[port]
        program = fanout_filter.program(shared, facts.mac, macs, hosts)
        if self.bound != (facts.index, shared) or not self.sockets:
            self._close_sockets()
            self.sockets = packet_socket.open_rx_queues(wanted.spec.nic, RX_QUEUES, program)
            self.sockets.append(packet_socket.open_transmit(wanted.spec.nic))
            self.bound = (facts.index, shared)
        elif program != self.program:
            packet_socket.set_program(self.sockets[0], program)
        self.program = program
        receive = self.sockets[0]
        self.memberships = packet_socket.set_memberships(
            receive, facts.index, set(macs), self.memberships, True
        )
        self._announce(wanted, facts)

    def _announce(self, wanted: Wanted, facts: Facts) -> None:
        """Tell the network of each address that is new, or is at another MAC or behind another cable than before."""
        if not facts.carrier:
            self.announced = set()
            return
        shared = wanted.spec.mode == "shared"
        now = {(facts.mac if shared else wanted.macs[port], each) for each, port in wanted.hosts.items()}
        for mac, each in sorted(now - self.announced):
            try:
                os.write(self.sockets[-1], bytes(tap.VNET_HEADER) + announcement.frame(mac, each))
            except OSError as error:
                log.warning("%s can't be announced on %s: %s", each, facts.name, error.strerror)
        self.announced = now

    def _close_sockets(self) -> None:
        self.retired += self.sockets
        self.sockets, self.memberships, self.bound, self.program = [], set(), (0, False), b""
        self.announced = set()

    def _load_fence(self, wanted: Wanted) -> list[str]:
        """In mode none there is a fabric without firewall rules, too, where there can be none."""
        try:
            stands = self._load_firewall(wanted, None)
        except (VnicdError, OSError) as error:
            if not self.is_open:
                log.warning(
                    "the machine forwards packets, of partitions too, as no rules can be made: %s", error
                )
            self.is_open = True
            self.script = self.family = self.listed = ""
            return []
        self.is_open = False
        return stands

    def _load_firewall(self, wanted: Wanted, facts: Facts | None) -> list[str]:
        family, script = self._rules(wanted, facts)
        if self.script and self.family != family:
            self._remove_firewall()
        if not script:
            return []
        item = f"table {family} {self.table}"
        is_whole = bool(self.listed) and nftables.listing(family, self.table) == self.listed
        if script != self.script or not is_whole:
            if not is_whole:
                self.lacked.append(item)
                self.shut_loopback()
            is_whole = self._load_table(family, script, wanted, is_whole)
        if wanted.spec.mode == "nat":
            self._open_loopback(nft_rules.needs_loopback(wanted.spec, self._by_name(wanted)), is_whole)
        return [item]

    def _open_loopback(self, needed: bool, is_whole: bool) -> None:
        """What another has opened stays so while our rules hold: CNI's portmap does it for ports of containers."""
        if is_whole and not needed and not self.has_opened_loopback:
            return
        self.has_opened_loopback = needed and is_whole
        Loopback(self.ifname).allow(self.has_opened_loopback)

    def _load_table(self, family: str, script: str, wanted: Wanted, was_whole: bool) -> bool:
        """Whether the table is now as the script makes it. If not, the news of this load lead to the next look."""
        before = self.datagrams
        known = self.listed if script == self.script else ""
        if not self.script:  # if nft is killed, nobody knows whether it had made the table
            self.script, self.family = script, family
        found = nftables.load_known(script, family, self.table, known)
        self.script, self.family, self.listed = script, family, found or known
        self.datagrams = nft_rules.datagrams(wanted.spec, self._by_name(wanted))
        self._forget(before ^ self.datagrams if was_whole else before | self.datagrams)
        return bool(found)

    def _rules(self, wanted: Wanted, facts: Facts | None) -> tuple[str, str]:
        """The family and the script of the firewall table; empty for none."""
        spec = wanted.spec
        if spec.mode == "nat":
            is_router = self._is_router(spec.nic)
            by_name = self._by_name(wanted)
            return "inet", nft_rules.ruleset(self.table, self.ifname, spec.nic, spec, by_name, is_router)
        if spec.mode == "shared" and facts is not None:  # its chain goes with the NIC
            return "netdev", nft_rules.bypass(self.table, facts.name, list(wanted.hosts))
        if spec.mode == "none" and machine_forwards(self.ifname):
            return "inet", nft_rules.fence(self.table, self.ifname)
        return "", ""

    def _by_name(self, wanted: Wanted) -> dict[str, tuple[str, ...]]:
        return {name: wanted.addresses[port] for name, port in wanted.names.items()}

    def _remove_firewall(self) -> None:
        self.shut_loopback()
        nftables.remove(self.table)
        gone, self.datagrams = self.datagrams, frozenset()
        self.script = self.family = self.listed = ""
        self._forget(gone)

    def _forget(self, changed: frozenset[Datagrams]) -> None:
        """Whoever sent to a published UDP port before is led as the rules say now, not as its first datagram was."""
        everywhere = nic.machine_addresses() if changed else ()
        for each in sorted(changed):
            try:
                conntrack.forget_udp(each.port, [each.address] if each.address else everywhere)
            except OSError as error:
                log.warning("connections to UDP port %d can't be forgotten: %s", each.port, error.strerror)

    def _look_for_blockers(self, wanted: Wanted, facts: Facts | None) -> None:
        """Rules of others that stand in the way of nat mode: they are told, and stay."""
        if wanted.spec.mode != "nat" or facts is None:
            self.blockers = ()
            return
        if (began := time.monotonic()) < self.next_look:
            return
        versions = {gateway.version for gateway in wanted.spec.gateways}
        try:
            found = tuple(nftables.blockers(self.table, self.ifname, versions))
        except (VnicdError, OSError, ValueError, subprocess.SubprocessError) as error:
            log.warning("the firewall rules of others can't be looked at: %s", error)
            found = self.blockers
        self.next_look = time.monotonic() + LOOK_FACTOR * (time.monotonic() - began)
        for each in found:
            if each not in self.blockers:
                log.warning("%s, which is in the way of the uplink in nat mode", each)
        self.blockers = found

    def _is_router(self, name: str) -> bool:
        """Whether the machine forwarded what came in by the NIC before we made it."""
        if self.router[0] != name:
            self.router = (name, forwards(name))
        return self.router[1]

    def _forward(self, wanted: Wanted, facts: Facts | None) -> list[str]:
        """nat mode needs a machine that forwards between port 0's interface and the NIC."""
        needed = wanted.spec.mode == "nat" and facts is not None
        ipv6 = any(gateway.version == 6 for gateway in wanted.spec.gateways)
        between = (self.ifname, wanted.spec.nic, ipv6)
        if self.forwarding is not None and (not needed or self.between != between):
            self.forwarding.release()
            self.forwarding = None
        if not needed:
            return []
        self.forwarding = self.forwarding or Forwarding(*between)
        self.between = between
        self.lacked += self.forwarding.claim()
        return self.forwarding.settings()


def clean(table: str) -> None:
    """Take away what a hosting daemon that was killed has left of an uplink, whatever the state says of it."""
    nftables.remove(table)
    settle()
    nic.sweep()
