"""What the hosting daemon tells about the fabric: status, links, statistics."""

from __future__ import annotations

import os
import time
from itertools import combinations
from typing import Any

from vnicd import __version__
from vnicd.config import DEFAULT_NETWORK
from vnicd.errors import NotFound
from vnicd.host.fabric import Fabric
from vnicd.host.links import inspection
from vnicd.host.links.manager import State
from vnicd.host.ports.port import Port, PortState
from vnicd.native import counters, memory
from vnicd.native.memory import Region
from vnicd.spec.partition import MTU_DEFAULT
from vnicd.spec.pool import without_address
from vnicd.spec.uplink import UplinkSpec

STARTED = time.monotonic()

LOOP_COUNTERS = ("rounds", "sleeps", "holds", "link_faults")
"""Of a daemon's loop as a whole: whether it goes on, and whether it has met full rings and broken links."""

Json = dict[str, Any]

HOST = "host"
"""What port 0 is called."""


def status(fabric: Fabric) -> Json:
    """The fabric, and its ports; port 0 is the hosting daemon."""
    huge = fabric.options.hugepages != "never" and memory.huge_pages_available()
    degraded = None
    if not huge and fabric.options.hugepages != "never":
        degraded = "no hugepages can be had, so new links use ordinary pages"
    page_size = memory.HUGE_PAGE if huge else memory.SMALL_PAGE
    shared = uplink(fabric) or {}
    host = {"port": 0, "name": HOST, "state": "up", "pid": os.getpid(), "page_size": page_size,
            "mac": fabric.uplink.vnic_mac, "addresses": _port_0_addresses(shared), "mtu": _port_0_mtu(shared),
            "ifname": shared.get("ifname"), "netns": None, "generation": 1, "restarts": 0, "reason": "",
            "actual": None, "drift": [], "mended": 0}  # fmt: skip
    return {
        "fabric": {
            "runtime_dir": str(fabric.paths.root),
            "pid": os.getpid(),
            "version": __version__,
            "uptime_s": round(time.monotonic() - STARTED, 1),
            "hugepages": fabric.options.hugepages,
            "page_size": page_size,
            "degraded": degraded,
            "names": fabric.names.to_json(),
            "network": fabric.paths.network or DEFAULT_NETWORK,
            "networks": [] if fabric.paths.network else fabric.paths.network_names(),
            "uplink": {key: shared[key] for key in ("nic", "mode", "state", "drops")} if shared else None,
        },
        "ports": [host, *(port.to_json() for port in fabric.ports)],
    }


def _port_0_addresses(shared: Json) -> list[str]:
    return [*shared.get("subnets", []), *shared.get("addresses", [])]


def _port_0_mtu(shared: Json) -> int | None:
    """That of the NIC, or the default if there is none to have one."""
    return MTU_DEFAULT if shared.get("mode") == "none" else shared.get("mtu")


def line(fabric: Fabric) -> str:
    """The fabric in a few words."""
    ports = list(fabric.ports)
    ready = sum(port.shown_state == PortState.UP.value for port in ports)
    text = f"{ready} of {len(ports)} partitions up"
    if fabric.uplink.spec is None:
        return text
    return f"{text}, uplink {fabric.uplink.spec.title} {fabric.uplink.state}"


def uplink(fabric: Fabric) -> Json | None:
    """The uplink, None when none is set."""
    spec, facts = fabric.uplink.spec, fabric.uplink.facts
    if spec is None:
        return None
    ours, drops = counters.port(fabric.relay.counters), counters.drops(fabric.relay.counters)
    through = "uplink" if spec.is_like_nic else "tap"  # else all passes port 0's interface
    return {
        **spec.to_json(),
        "backend": "packet",
        "state": fabric.uplink.state,
        "reason": fabric.uplink.reason,
        "mac": facts.mac if facts else None,
        "mtu": facts.mtu if facts else None,
        "speed_mbit": facts.speed_mbit if facts else None,
        "carrier": bool(facts and facts.carrier),
        "offloads": facts.offloads if facts else {},
        "default_route": bool(facts and facts.default_route),
        "ifname": fabric.uplink.resources.ifname or None,
        "repairs": fabric.uplink.repairs.count,
        "last_repair": fabric.uplink.repairs.last,
        "without_address": _without_address(fabric, spec),
        "in_the_way": [str(each) for each in fabric.uplink.resources.blockers],
        "counters": {way: ours[f"{through}_{way}"] for way in UPLINK_COUNTERS},
        "drops": {reason: n for reason, n in drops.items() if n and reason in UPLINK_DROPS},
    }


def _without_address(fabric: Fabric, spec: UplinkSpec) -> dict[str, list[str]]:
    ports = [port for port in fabric.ports if not port.is_being_removed]
    found = without_address(spec, {port.spec.name: port.spec.addresses for port in ports})
    return {name: list(free) for name, free in found.items()}


UPLINK_COUNTERS = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes")
UPLINK_DROPS = (
    "bad_frame",
    "too_big",
    "over_rate",
    "bad_address",
    "uplink_down",
    "uplink_refused",
    "uplink_full",
)


def links(fabric: Fabric) -> Json:
    """Every pair of ports, the hosting daemon's first."""
    everyone: list[Port | None] = [None, *fabric.ports]
    return {"links": [_pair(fabric, a, b) for a, b in combinations(everyone, 2) if b is not None]}


def _pair(fabric: Fabric, a: Port | None, b: Port) -> Json:
    link = fabric.relay.links.links.get((a.number if a else 0, b.number))
    up = link is not None and link.state in (State.UP, State.CLOSING)
    both = b.state is PortState.UP and (a is None or a.state is PortState.UP)
    return {
        "ports": [_name(a), _name(b)],
        "path": "direct" if up else "relay" if both and a is not None else "none",
        "state": link.state.value if link is not None else "none",
        "page_size": min(link.page_sizes.values(), default=None) if link is not None else None,
        "directions": [_direction(fabric, a, b), _direction(fabric, b, a)],
    }


def port_named(fabric: Fabric, name: str | None) -> Port | None:
    """A partition's port, None for port 0; NotFound when there is no such partition."""
    return None if name == HOST else fabric.ports.get(name)


def _name(port: Port | None) -> str:
    return port.spec.name if port else HOST


def link_memory(fabric: Fabric, a: Port | None, b: Port | None) -> Json:
    """Cursors and wake words of the link between two ports, as they stand in its memory. Reads /proc, and may block."""
    numbers = [port.number if port else 0 for port in (a, b)]
    pids = [port.pid if port else os.getpid() for port in (a, b)]
    ours = inspection.sides(pids[0], numbers[0], numbers[1])
    theirs = inspection.sides(pids[1], numbers[1], numbers[0])
    link = fabric.relay.links.links.get((min(numbers), max(numbers)))
    common = sorted(ours.keys() & theirs.keys(), key=lambda ident: link is not None and ident == link.ident)
    if not common:
        raise NotFound(f"{_name(a)} and {_name(b)} have no link", "see: vnicctl links")
    ident = common[-1]
    return {
        "ports": [_name(a), _name(b)],
        "link_id": f"{ident:016x}",
        "state": link.state.value if link is not None and link.ident == ident else "ended",
        "directions": [
            {"from": _name(a), "to": _name(b), **inspection.direction(ours[ident], theirs[ident])},
            {"from": _name(b), "to": _name(a), **inspection.direction(theirs[ident], ours[ident])},
        ],
        "daemons": [
            {"name": _name(port), "pid": pid, **{name: own[name] for name in LOOP_COUNTERS}}
            for port, pid in zip((a, b), pids, strict=True)
            for own in [counters.port(_counters(fabric, port))]
        ],
    }


def _direction(fabric: Fabric, a: Port | None, b: Port | None) -> Json:
    """What went from a to b: sent by a, and dropped at a on the way or at b on arrival.

    What a partition sent to the hosting daemon is told by the hosting daemon's counters.
    """
    sender, lost_at_sender = counters.peer(_counters(fabric, a), b.number if b else 0)
    _, lost_at_receiver = counters.peer(_counters(fabric, b), a.number if a else 0)
    drops = {name: lost_at_sender.get(name, 0) for name in SENDER_REASONS}
    for name, n in lost_at_receiver.items():
        if name not in SENDER_REASONS:
            drops[name] = drops.get(name, 0) + n
    return {
        "from": _name(a),
        "to": _name(b),
        "frames": sender["tx_frames"],
        "bytes": sender["tx_bytes"],
        "relayed": sender["tx_relayed"],
        "wakeups": sender["wakeups"],
        "drops": {name: n for name, n in drops.items() if n},
    }


SENDER_REASONS = ("peer_down", "no_link", "ring_full", "unread")
"""Drops that the sender of a frame counts under its receiver's port; the others the receiver counts."""


def _counters(fabric: Fabric, port: Port | None) -> Region:
    return port.counters if port else fabric.relay.counters


def stats(fabric: Fabric, name: str | None) -> Json:
    """All counters of one port or of all; `host` is the hosting daemon."""
    chosen: list[Port | None] = [None, *fabric.ports] if name is None else [port_named(fabric, name)]
    return {
        "ports": [
            {
                "name": _name(port),
                "counters": counters.port(_counters(fabric, port)),
                "drops": counters.drops(_counters(fabric, port)),
            }
            for port in chosen
        ]
    }
