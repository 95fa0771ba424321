"""What can be wrong with the daemons and the interfaces of both ends, as complaints; pure."""

from __future__ import annotations

from collections.abc import Iterator

from vnicd.check.complaint import ALL, ANSWER, CROSS, LEAVE, RECEIVE, RETURN, SEND, Complaint, Point, at
from vnicd.check.facts import Daemon, End, Facts, Way
from vnicd.check.reasons import exec_in, put_back

# ------------------------------------------------------------------------------------------------ daemons


def daemon(end: End) -> Iterator[Complaint]:
    if end.kind != "partition":
        return
    name, daemon = end.name, end.daemon
    points = at(CROSS, RETURN)
    if end.state == "failed":
        cause = f"{name} can't be brought back: {end.reason}"
        yield Complaint("daemons", cause, f"mend that, or: vnicctl partition remove {name}", points, True)
    elif daemon.state == "dead" or end.state in ("down", "starting"):
        cause = f"{name} has no running daemon ({end.state})"
        yield Complaint(
            "daemons", cause, "wait a moment; if it stays so: vnicctl doctor, and its log", points, True
        )
    elif daemon.state != "up":
        cause = f"the daemon of {name}, pid {daemon.pid}, is {daemon.state}, so it moves no frames"
        yield Complaint("daemons", cause, _wake(daemon), points, True)
    elif daemon.is_full:
        cause = f"the daemon of {name}, pid {daemon.pid}, has {daemon.files} of {daemon.most_files} descriptors in use"
        remedy = (
            f"vnicctl partition restart {name}; or more for it: prlimit --pid {daemon.pid} --nofile=65536"
        )
        yield Complaint("daemons", f"{cause}, and can make no link", remedy, points, True)


def _wake(daemon: Daemon) -> str:
    if daemon.state == "frozen":
        return f"thaw its control group: see /proc/{daemon.pid}/cgroup"
    return f"kill -CONT {daemon.pid}"


def host(facts: Facts) -> Iterator[Complaint]:
    host, points = facts.host, at(CROSS, RETURN)
    if host.state == "dead":
        cause = "the hosting daemon is dead, so nothing goes by relay, and no link is made"
        yield Complaint("daemons", cause, "vnicctl up", points, True)
    elif host.state != "up":
        cause = f"the hosting daemon, pid {host.pid}, is {host.state}, so nothing goes by relay, and no link is made"
        yield Complaint("daemons", cause, _wake(host), points, True)
    elif host.is_full:
        cause = f"the hosting daemon has {host.files} of {host.most_files} descriptors in use, and can make no link"
        yield Complaint("daemons", cause, f"prlimit --pid {host.pid} --nofile=65536", points, True)


# --------------------------------------------------------------------------------------------- interfaces


def near_interface(end: End) -> Iterator[Complaint]:
    yield from _interface(end, at(SEND, LEAVE, CROSS, RETURN), at(RECEIVE), at(LEAVE), at(RETURN))
    link = end.link
    if link and link.no_arp:
        remedy = f"{exec_in(end)}ip link set {end.ifname} arp on"
        yield Complaint(
            "interfaces", f"{end.ifname} of {end.name} does no ARP (NOARP)", remedy, at(CROSS, LEAVE, ANSWER)
        )


def far_interface(end: End) -> Iterator[Complaint]:
    yield from _interface(end, at(CROSS, ANSWER), at(ANSWER), at(ANSWER), at(CROSS))
    link = end.link
    if link and link.no_arp:
        remedy = f"{exec_in(end)}ip link set {end.ifname} arp on"
        yield Complaint(
            "interfaces", f"{end.ifname} of {end.name} does no ARP (NOARP)", remedy, at(ANSWER, RETURN)
        )


def _interface(
    end: End,
    down: frozenset[Point],
    inward: frozenset[Point],
    outward: frozenset[Point],
    xdp: frozenset[Point],
) -> Iterator[Complaint]:
    """`inward` and `outward` are where it shows that the kernel drops what it gets, or what it sends."""
    link, prefix, name = end.link, exec_in(end), end.name
    if end.scene is None:
        return
    if link is None:
        cause = f"{name} has no interface {end.ifname}"
        yield Complaint(
            "interfaces", cause, "vnicd makes it again; if it does not: vnicctl doctor", ALL, True
        )
        return
    if not link.is_up:
        cause = f"the interface {end.ifname} of {name} is down"
        yield Complaint("interfaces", cause, f"{prefix}ip link set {end.ifname} up", down | outward, True)
    elif not link.carrier:
        cause = f"the interface {end.ifname} of {name} has no carrier"
        yield Complaint(
            "interfaces",
            cause,
            "vnicctl uplink show, if --propagate-link is set; else vnicctl doctor",
            down | outward,
        )
    if link.master:
        cause = (
            f"{end.ifname} of {name} is part of the {link.master}, which gets its packets instead of {name}"
        )
        yield Complaint(
            "interfaces",
            cause,
            f"{prefix}ip link set {end.ifname} nomaster",
            at(SEND, LEAVE) | inward | outward,
        )
    if link.xdp:
        cause = (
            f"an XDP program is attached to {end.ifname} of {name}, which gets each frame before the kernel"
        )
        yield Complaint("interfaces", cause, f"{prefix}ip link set dev {end.ifname} xdp off", xdp)
    for hook, points in (("ingress", inward), ("egress", outward)):
        if hook in end.scene.filters:
            cause = f"a tc filter at the {hook} of {end.ifname} of {name} may drop packets"
            yield Complaint("interfaces", cause, f"{prefix}tc filter show dev {end.ifname} {hook}", points)


def queues(near: End, far: End) -> Iterator[Complaint]:
    for end, points in ((near, at(LEAVE)), (far, at(ANSWER))):
        for kind, number in end.after.dropped.items():
            if number > end.before.dropped.get(kind, 0):
                cause = f"the queueing discipline {kind} of {end.ifname} of {end.name} keeps or drops packets"
                yield Complaint(
                    "interfaces", cause, f"{exec_in(end)}tc qdisc del dev {end.ifname} root", points
                )


def macs(facts: Facts, near: End, far: End) -> Iterator[Complaint]:
    for end, points in ((near, at(LEAVE, CROSS, RECEIVE)), (far, at(CROSS, ANSWER, RETURN))):
        link = end.link
        if link is None or not end.mac or link.mac == end.mac or end.kind != "partition":
            continue
        cause = f"{end.ifname} of {end.name} has the MAC {link.mac}, and vnicd takes frames of {end.mac} only"
        remedy = put_back(end, f"{exec_in(end)}ip link set {end.ifname} address {end.mac}")
        yield Complaint("interfaces", cause, remedy, points, True)


def mtu(near: End, far: End, way: Way) -> Iterator[Complaint]:
    large = way.large
    limit = next((each.mtu for each in large.refusals if each.mtu), 0) if large else 0
    if large is not None and not large.received and limit:
        whose = large.refusals[0].sender
        cause = f"packets of {way.large_size} bytes don't pass: the path takes {limit} bytes, says {whose}"
        yield Complaint("large", cause, f"{exec_in(near)}ip link set {near.ifname} mtu {limit}", at(), True)
    a, b = near.link, far.link
    if a is not None and b is not None and a.mtu != b.mtu:
        cause = f"the MTUs differ: {near.name} has {a.mtu}, {far.name} has {b.mtu}; large packets may be lost"
        wrong = near if near.mtu and a.mtu != near.mtu else far if far.mtu and b.mtu != far.mtu else None
        remedy = "give both the same --mtu"
        if wrong is not None:
            remedy = put_back(wrong, f"{exec_in(wrong)}ip link set {wrong.ifname} mtu {wrong.mtu}")
        yield Complaint("large", cause, remedy, at(), True, f"the MTUs differ: {a.mtu} and {b.mtu}")
    elif large is not None and not large.received:
        cause = f"packets of {way.large_size} bytes are not answered, and small ones are"
        yield Complaint("large", cause, f"look for what drops them: vnicctl stats {near.name}", at(), True)
