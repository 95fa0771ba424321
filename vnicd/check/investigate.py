"""The whole check: whose ends are meant, what is in both, what probes and counters tell, and the verdict.

It ends within DEADLINE_S also if every daemon is stopped, as no question to one waits for longer than ASK_TIMEOUT_S and
none is put again to one that has not answered.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from vnicd.check import gather, reasons
from vnicd.check.facts import Daemon, End, Facts, Tally, Way
from vnicd.check.probe import Place, Prober
from vnicd.check.steps import FAILED, Step
from vnicd.check.verdict import Finding, Verdict, judge
from vnicd.config import Paths
from vnicd.errors import Invalid, NoNamespace, NotFound, NotPermitted, NotRunning, TimedOut, VnicdError
from vnicd.host.ports import state_file
from vnicd.kernel import netns, process

Json = dict[str, Any]
Ask = Callable[[str, Json, float], Any]
"""A call on the control socket: the method, its parameters, and seconds to wait."""

DEADLINE_S = 4.3
ASK_TIMEOUT_S = 0.8
HOST = "host"


def check(near: str, far: str, tcp_port: int, paths: Paths, ask: Ask) -> Verdict:
    """Whether `near` reaches `far`, and if not, why; TCP port 0 stands for none.

    NotFound when there is no such partition, NotRunning when there is no fabric, NotPermitted to others than root.
    """
    if os.geteuid() != 0:
        raise NotPermitted("only root can look into namespaces", "run it with sudo")
    if near == far:
        raise Invalid(f"{near} and {far} are the same", "name two partitions, or: host")
    found = _Check(near, far, tcp_port, paths, ask)
    return found.unmet() or judge(found.run())


class _Check:
    def __init__(self, near: str, far: str, tcp_port: int, paths: Paths, ask: Ask) -> None:
        self.deadline = time.monotonic() + DEADLINE_S
        self.paths, self._ask, self.tcp_port = paths, ask, tcp_port
        self.silent = False
        """The hosting daemon has not answered in time, so it is asked nothing more."""
        self.host = Daemon()
        self.uplink: Json | None = None
        self.ports = self._ports()
        self.near = self._partition(near)
        self.target = ""
        """The far address, if one was named."""
        self.far = self._find_far(far)

    def ask(self, method: str, **params: Any) -> Any:
        """The answer of the hosting daemon; None without one."""
        if self.silent or self.host.state != "up":
            return None
        try:
            return self._ask(method, params, ASK_TIMEOUT_S)
        except (NotRunning, TimedOut):
            self.silent = True
        except VnicdError:
            pass
        return None

    # --------------------------------------------------------------------------------------------- names

    def _ports(self) -> list[Json]:
        """All ports as the hosting daemon tells them, or else as its state file does."""
        try:
            status = self._ask("status", {}, ASK_TIMEOUT_S)
        except (NotRunning, TimedOut) as error:
            return self._remembered(error)
        self.host = gather.daemon(int(status["fabric"]["pid"]))
        if status["fabric"].get("uplink"):
            shown = self.ask("uplink.show")
            self.uplink = shown["uplink"] if shown else status["fabric"]["uplink"]
        return list(status["ports"])

    def _remembered(self, error: VnicdError) -> list[Json]:
        if not self.paths.state.exists():
            raise error
        partitions, uplink = state_file.load(self.paths.state)
        self.silent = True
        self.host = gather.daemon(_host_pid(self.paths))
        if self.host.state == "up":
            self.host.state = "silent"
        if uplink is not None:
            self.uplink = {**uplink.to_json(), "state": "not told", "reason": ""}
        return [
            {
                **saved.spec.to_json(),
                "port": saved.port,
                "pid": saved.pid,
                "state": "up",
                "netns": saved.spec.netns_path,
                "netns_owned": saved.spec.owns_netns,
                "netns_inode": saved.home.inode if saved.home is not None else None,
            }
            for saved in partitions
        ]

    def _partition(self, name: str) -> End:
        found = next((port for port in self.ports if port["name"] == name), None)
        if found is None and name == HOST:
            found = {"name": HOST, "port": 0}
        if found is None:
            alike = get_close_matches(name, [str(port["name"]) for port in self.ports], 1)
            hint = f"did you mean {alike[0]}?" if alike else "list them with: vnicctl partition list"
            raise NotFound(f"there is no partition {name}", hint)
        return self._host(found) if name == HOST else _end(found)

    def _host(self, port: Json) -> End:
        end = End(HOST, "host", ifname=port.get("ifname") or "", mac=port.get("mac") or "", daemon=self.host)
        end.addresses = tuple(port.get("addresses") or ())
        if self.host.state == "dead":
            end.missing = "the hosting daemon is dead, and its interface is gone with it"
        elif not end.ifname:
            end.missing = "the host has no interface in the fabric, as there is no uplink"
            if self.silent:
                end.missing = "the hosting daemon does not answer, so its interface is not known"
        else:
            end.netns = f"/proc/{self.host.pid}/ns/net"
        return end

    def _find_far(self, far: str) -> End:
        """A partition, the host, or by address whoever has it."""
        try:
            self.target = str(ipaddress.ip_address(far))
        except ValueError:
            return self._partition(far)
        if ipaddress.ip_address(far).is_link_local or ipaddress.ip_address(far).is_multicast:
            raise Invalid(f"{far} is not an address that can be checked", "name one that is not link-local")
        for port in self.ports:
            own = [str(ipaddress.ip_interface(text).ip) for text in port.get("addresses") or ()]
            if self.target in own and port["name"] != self.near.name:
                return self._partition(port["name"])
        for name, path in self._places(self.near.name):
            if gather.holds(path, self.target):
                return self._partition(name)
        return self._outside(far)

    def _outside(self, far: str) -> End:
        end = End(far, "outside", ifname=str(self.uplink["nic"]) if self.uplink else "", state="")
        if self.near.kind == "host":
            raise Invalid(f"the machine reaches {far} without vnicd, if at all", "name a partition")
        if self.uplink and self.host.state != "dead":
            end.netns = f"/proc/{self.host.pid}/ns/net"
        return end

    def _places(self, *without: str) -> list[tuple[str, str]]:
        """The namespaces of all ports but these, by name."""
        found = [
            (str(port["name"]), path)
            for port in self.ports
            if port.get("netns") and (path := _path_into(port))
        ]
        if self.host.state != "dead":
            found.append((HOST, f"/proc/{self.host.pid}/ns/net"))
        return [(name, path) for name, path in found if name not in without]

    # ----------------------------------------------------------------------------------------- the check

    def unmet(self) -> Verdict | None:
        """The verdict where there is nothing to probe with: an end is not there, or has no address."""
        for end in (self.near, self.far):
            self._look(end)
        for end in (self.near, self.far):
            if end.missing:
                return _unmet("interfaces", end.missing, reasons.remedy_of_missing(end))
        if not self._targets():
            text = f"{self.far.name} has no address, neither given by vnicd nor on {self.far.ifname}"
            return _unmet("addresses", text, f"give it one: {reasons.give_address(self.far, self.uplink)}")
        return None

    def run(self) -> Facts:
        near, far = self.near, self.far
        facts = Facts(near, far, self._ways(), self.host, self.uplink, tcp_port=self.tcp_port)
        facts.members = {str(port["name"]): str(port.get("mac") or "") for port in self.ports}
        guards = self.uplink is not None and self.uplink.get("mode") != "bridge"
        facts.vnic = next((str(port.get("ifname") or "") for port in self.ports if port["name"] == HOST), "")
        facts.is_routed = self.uplink is not None and self.uplink.get("mode") == "nat"
        facts.guarded = guards and near.kind == "partition"
        before = self._count()
        if near.scene is not None:
            self._probe(facts)
        self._compare(before, self._count(), facts)
        self._end(facts)
        return facts

    def _look(self, end: End) -> None:
        """What is in an end's namespace."""
        if end.kind == "outside" or end.missing:
            return
        try:
            end.scene = netns.inside(end.netns, lambda: gather.scene(end.ifname, self.tcp_port))
        except NoNamespace:
            end.missing = f"the namespace of {end.name} is gone: {end.netns}"

    def _ways(self) -> list[Way]:
        near, far = self.near, self.far
        targets = self._targets()
        own = {ipaddress.ip_interface(text).version for text in near.addresses} | _versions(near)
        usable = {version: ip for version, ip in targets.items() if version in own} or targets
        ways = [Way(version, ip) for version, ip in sorted(usable.items())]
        for way in ways:
            if near.scene is not None:
                way.there = netns.inside(near.netns, partial(gather.route_to, way.target))
            way.source = way.there.source or _first(near, way.version)
            way.next_hop = way.there.gateway or way.target
            if far.scene is not None and way.source:
                source = way.target if any(each.ip == way.target for each in far.scene.addresses) else ""
                way.back = netns.inside(far.netns, partial(gather.route_to, way.source, source))
            places = self._places(near.name, far.name)
            if far.kind != "outside":
                way.holders = gather.holders(way.target, places)
                way.source_holders = gather.holders(way.source, places) if way.source else ()
        return ways

    def _targets(self) -> dict[int, str]:
        """The far end's address of each version: its first, or the one that was named."""
        if self.target:
            return {ipaddress.ip_address(self.target).version: self.target}
        return {version: ip for version in (4, 6) if (ip := _first(self.far, version))}

    def _probe(self, facts: Facts) -> None:
        near, far = facts.near, facts.far
        place = None
        if far.netns and far.ifname:
            place = Place(far.netns, far.ifname, is_wire=far.kind == "outside")
        with Prober(
            Place(near.netns, near.ifname), place, facts.ways, self.tcp_port, self.deadline
        ) as prober:
            prober.there()
            if self.tcp_port and far.scene is not None:
                far.scene.listeners = netns.inside(far.netns, partial(gather.listeners, self.tcp_port))
            self._neighbours(facts)
            if far.kind != "outside" and far.scene is not None:
                prober.back((near.mac, far.mac))
            prober.large(near.link.mtu if near.link else 0)

    def _neighbours(self, facts: Facts) -> None:
        """What both kernels know of each other after the first probes, before others tell them more."""
        near, far = facts.near, facts.far
        for way in facts.ways:
            if way.there.dev == near.ifname:
                way.neighbour = netns.inside(near.netns, partial(gather.neighbour, near.ifname, way.next_hop))
            if way.back is not None and way.back.dev == far.ifname and far.scene is not None:
                hop = way.back.gateway or way.source
                way.back_neighbour = netns.inside(far.netns, partial(gather.neighbour, far.ifname, hop))
            if facts.is_routed and far.kind == "outside" and far.netns:
                way.onward = netns.inside(far.netns, partial(gather.route_to, way.target))
                hop = way.onward.gateway or way.target
                way.onward_neighbour = netns.inside(far.netns, partial(gather.neighbour, way.onward.dev, hop))

    # -------------------------------------------------------------------------------------------- counting

    def _count(self) -> dict[str, Any]:
        """The counters of both ends' kernels and daemons."""
        found: dict[str, Any] = {}
        for end in (self.near, self.far):
            if end.scene is not None or (end.kind == "outside" and end.netns):
                found[f"kernel {end.name}"] = netns.inside(end.netns, partial(gather.tally, end.ifname))
        for name in {self.near.name, HOST} | ({self.far.name} if self.far.kind == "partition" else set()):
            stats = self.ask("stats", name=name)
            if stats:
                found[name] = stats["ports"][0]
        return found

    def _compare(self, before: dict[str, Any], after: dict[str, Any], facts: Facts) -> None:
        for end in (facts.near, facts.far):
            end.before = before.get(f"kernel {end.name}", Tally())
            end.after = after.get(f"kernel {end.name}", Tally())
            old, new = before.get(end.name), after.get(end.name)
            if old and new:
                end.drops = _grown(old["drops"], new["drops"])
                counters = _grown(old["counters"], new["counters"])
                end.taken, end.given = counters.get("tap_rx_frames", 0), counters.get("tap_tx_frames", 0)
        old, new = before.get(HOST), after.get(HOST)
        if old and new:
            facts.host_drops = _grown(old["drops"], new["drops"])

    def _end(self, facts: Facts) -> None:
        """What is told of a pair that talks."""
        near, far = facts.near, facts.far
        if far.kind == "outside" or HOST in (near.name, far.name):
            facts.path = "the hosting daemon" if not self.silent else ""
            return
        try:
            if not self.silent:
                shown = self._ask("debug.link", {"from": near.name, "to": far.name}, ASK_TIMEOUT_S)
                facts.path = "direct" if shown["state"] in ("up", "closing") else "relay"
        except NotFound:
            facts.path = "relay"
        except VnicdError:
            return
        if time.monotonic() < self.deadline and (listed := self.ask("sockets.list")):
            pair = {near.name, far.name}
            facts.direct_sockets = sum(
                {each["client"]["partition"], each["server"]["partition"]} == pair
                and (not self.tcp_port or each["server"]["port"] == self.tcp_port)
                for each in listed["connections"]
            )


def _unmet(step: str, cause: str, remedy: str) -> Verdict:
    return Verdict(False, [Step(step, FAILED, cause)], [Finding(cause, remedy)])


def _path_into(port: Json) -> str:
    """Of a partition's namespace; empty when none leads there."""
    return process.path_into(str(port["netns"]), port.get("netns_inode"))


def _ifname(port: Json) -> str:
    """What its interface is called by now: frames pass all the same. The declared name if it is no plain word."""
    actual = str((port.get("actual") or {}).get("ifname") or "")
    return actual if actual and gather.word(actual) == actual else str(port["ifname"])


def _end(port: Json) -> End:
    path = _path_into(port)
    return End(
        name=str(port["name"]),
        ifname=_ifname(port),
        netns=path,
        missing="" if path else f"the namespace of {port['name']} can't be reached: no process is in it",
        owns_netns=bool(port["netns_owned"]),
        state=str(port["state"]),
        reason=str(port.get("reason") or ""),
        mac=str(port.get("mac") or ""),
        mtu=int(port.get("mtu") or 0),
        addresses=tuple(port.get("addresses") or ()),
        gateways=tuple(port.get("gateways") or ()),
        daemon=gather.daemon(int(port.get("pid") or 0)),
    )


def _host_pid(paths: Paths) -> int:
    """The process that has written itself down as the hosting daemon; 0 when another may have its number now."""
    try:
        pid = int(paths.host_lock.read_text())
        return pid if b"vnicd" in Path(f"/proc/{pid}/cmdline").read_bytes() else 0
    except (OSError, ValueError):
        return 0


def _first(end: End, version: int) -> str:
    """An end's first address of a version: a given one, or else what its interface has."""
    for text in end.addresses:
        found = ipaddress.ip_interface(text)
        if found.version == version:
            return str(found.ip)
    for each in end.scene.addresses if end.scene else ():
        found = each.interface
        if found.version == version and each.ifname == end.ifname and not found.is_link_local:
            return str(found.ip)
    return ""


def _versions(end: End) -> set[int]:
    """The families in which an end has addresses that reach beyond its link."""
    found = end.scene.addresses if end.scene else []
    return {
        e.interface.version for e in found if not e.interface.is_link_local and not e.interface.is_loopback
    }


def _grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {
        name: number - before.get(name, 0) for name, number in after.items() if number > before.get(name, 0)
    }
