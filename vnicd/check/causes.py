"""What can be wrong with an end or a way, as complaints: pure.

A complaint says at which points a probe would vanish because of it. Which one is the cause is decided in verdict.py, by
where the probe did vanish. Within a point the first complaint goes before later ones, so what is certain comes first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from vnicd.check import addressing, interfaces, routing
from vnicd.check.complaint import ALL, ANSWER, CROSS, LEAVE, RECEIVE, RETURN, SEND, Complaint, at
from vnicd.check.facts import Facts, Kind, Listener, Way
from vnicd.check.reasons import exec_in


def of(facts: Facts, way: Way) -> list[Complaint]:
    """All complaints about one family's way, the certain ones first."""
    near, far = facts.near, facts.far
    return [
        *addressing.own_target(facts, way),
        *(_uplink(facts, way) if facts.uplink is None else ()),
        *interfaces.daemon(near),
        *interfaces.daemon(far),
        *interfaces.near_interface(near),
        *(interfaces.far_interface(far) if far.kind != "outside" else ()),
        *interfaces.macs(facts, near, far),
        *addressing.disabled(near, way, at(SEND, LEAVE, CROSS, ANSWER, RETURN)),
        *addressing.disabled(far, way, at(CROSS, ANSWER, RETURN)),
        *addressing.near_addresses(facts, way),
        *addressing.far_addresses(facts, way),
        *routing.routes(facts, way),
        *routing.gateway(facts, way),
        *addressing.holders(facts, way),
        *routing.neighbours(facts, way),
        *routing.settings(near, far, way),
        *interfaces.mtu(near, far, way),
        *interfaces.queues(near, far),
        *(_uplink(facts, way) if facts.uplink is not None else ()),
        *interfaces.host(facts),
    ]


def _uplink(facts: Facts, way: Way) -> Iterator[Complaint]:
    if facts.far.kind != "outside":
        return
    uplink, points = facts.uplink, at(CROSS, ANSWER, RETURN)
    if uplink is None:
        cause = f"no partition has the address {facts.far.name}, and there is no uplink"
        yield Complaint(
            "uplink", cause, "vnicctl partition list; or set an uplink: vnicctl uplink set NIC", ALL
        )
    elif uplink.get("state") != "up":
        why = f": {uplink['reason']}" if uplink.get("reason") else ""
        cause = f"the uplink {uplink['nic']} is {uplink['state']}{why}"
        yield Complaint("uplink", cause, "see: vnicctl uplink show, vnicctl doctor", points, True)
    elif way.onward is not None and way.onward.error:
        cause = f"the machine has no route to {way.target} ({way.onward.error})"
        yield Complaint("crossed", cause, f"on the machine: ip route get {way.target}", points)
    elif way.onward is not None and way.onward_neighbour.state in ("incomplete", "failed"):
        hop = way.onward.gateway or way.target
        brief = f"nobody answers for {hop} at {way.onward.dev}"
        remedy = f"is {hop} the right address, and is it up?"
        yield Complaint("crossed", f"{brief} of the machine", remedy, points, brief=brief)


# --------------------------------------------------------------------------------------------------- TCP


def of_tcp(facts: Facts, way: Way) -> Iterator[Complaint]:
    """Why a TCP connection to the port was not made although the way is there."""
    far, port = facts.far, facts.tcp_port
    if far.scene is None or far.kind == "outside" or far.scene.listeners is None:
        return
    points = at(ANSWER, RECEIVE, kinds=[Kind.TCP])
    listeners = far.scene.listeners
    fitting = [each for each in listeners if _serves(each, way)]
    if not listeners:
        cause = f"nothing listens on TCP port {port} in {far.name}"
        yield Complaint("tcp", cause, f"start the service; see: {exec_in(far)}ss -tln", points)
    elif not fitting:
        places = ", ".join(sorted({each.address for each in listeners}))
        cause = f"port {port} in {far.name} listens on {places} only"
        yield Complaint("tcp", cause, f"let the service listen on {way.target}, or on all addresses", points)
    elif any(each.queued > each.limit for each in fitting) or far.grew("TcpExt.ListenOverflows") > 0:
        full = max(fitting, key=lambda each: each.queued)
        cause = f"the backlog of port {port} in {far.name} is full: {full.queued} connections wait, {full.limit} may"
        yield Complaint("tcp", cause, "the service does not accept them: is it stopped or too slow?", points)


def _serves(listener: Listener, way: Way) -> bool:
    address = ipaddress.ip_address(listener.address)
    if address.is_unspecified:
        return address.version == 6 or way.version == 4
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address) == way.target
