"""What can be wrong with the routes, neighbours and settings of both ends, as complaints; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from vnicd.check.complaint import ANSWER, CROSS, LEAVE, RECEIVE, RETURN, SEND, Complaint, Point, at
from vnicd.check.facts import End, Facts, Kind, Route, Way
from vnicd.check.reasons import exec_in, give_address


def routes(facts: Facts, way: Way) -> Iterator[Complaint]:
    yield from _route(facts, facts.near, way.there, way.target, at(SEND, LEAVE, CROSS))
    if way.back is not None and facts.far.kind != "outside" and way.source:
        yield from _route(facts, facts.far, way.back, way.source, at(ANSWER))


def _route(
    facts: Facts, end: End, route: Route, target: str, points: frozenset[Point]
) -> Iterator[Complaint]:
    """Why an end sends to an address by another way than straight by its interface, unless it should."""
    scene, prefix = end.scene, exec_in(end)
    straight = not route.error and route.dev == end.ifname
    if scene is None or route.is_local or (straight and not route.gateway):
        return
    ip = ipaddress.ip_address(target)
    own = [
        each for each in scene.addresses if each.ifname == end.ifname and each.interface.version == ip.version
    ]
    covering = [each for each in own if ip in each.interface.network]
    if straight and not covering and not any(_covers(text, target) for text in end.addresses):
        return  # by a gateway, as it should be
    leads = f"leads to {route.dev}"
    if route.error or straight:
        leads = f"goes by the gateway {route.gateway}" if straight else "is refused"
    refusing = [each for each in scene.refusing if _covers(each[0], target)] if route.error else []
    rules = [rule for rule in scene.rules.get(ip.version, []) if not rule.to or _covers(rule.to, target)]
    by_hand = f"{prefix}ip route add {target} dev {end.ifname}"
    if refusing:
        dead, word = max(refusing, key=lambda each: ipaddress.ip_network(each[0]).prefixlen)
        cause = f"{end.name} has a route {word} {dead}, which {target} is in"
        yield Complaint("route", cause, f"{prefix}ip route del {word} {dead}", points)
    elif rules:
        cause = f"what {end.name} sends to {target} {leads} by a policy rule: {rules[0].text}"
        yield Complaint("route", cause, f"{prefix}ip rule del priority {rules[0].priority}", points)
    elif covering and not route.error and not straight:
        net = covering[0].interface.network
        cause = f"what {end.name} sends to {target} {leads}, by another route than that of its subnet {net}"
        yield Complaint(
            "route", cause, f"{prefix}ip route get {target}; remove that route, or: {by_hand}", points
        )
    elif covering:
        net = covering[0].interface.network
        cause = f"{end.name} has lost the route of its subnet {net} on {end.ifname}: what it sends to {target} {leads}"
        source = f" src {covering[0].ip}" if ip.version == 4 else ""
        yield Complaint("route", cause, f"{prefix}ip route add {net} dev {end.ifname}{source}", points)
    elif route.error and all(each.interface.is_link_local for each in own):
        cause = f"{end.name} has no address that it could reach {target} from"
        remedy = give_address(end, facts.uplink, gateway=facts.far.kind == "outside")
        yield Complaint("addresses", cause, remedy, points, brief=f"{end.name} has no address")
    elif route.error:
        cause = f"{end.name} has no route to {target}: it is in none of its subnets, and there is no gateway"
        yield Complaint("route", cause, f"{by_hand}; or a shorter prefix length, or a gateway", points)
    else:
        cause = f"what {end.name} sends to {target} {leads}, not to {end.ifname}"
        yield Complaint(
            "route", cause, f"{prefix}ip route get {target}; remove that route, or: {by_hand}", points
        )


def _covers(network: str, target: str) -> bool:
    found, ip = ipaddress.ip_interface(network).network, ipaddress.ip_address(target)
    return found.version == ip.version and ip in found


def gateway(facts: Facts, way: Way) -> Iterator[Complaint]:
    near, gateway = facts.near, way.there.gateway
    if not gateway or way.there.dev != near.ifname:
        return
    declared = [each for each in near.gateways if ipaddress.ip_address(each).version == way.version]
    instead = (
        f"{exec_in(near)}ip route replace default via {declared[0]} dev {near.ifname}" if declared else ""
    )
    if declared and gateway not in declared:
        cause = f"{near.name} sends to {way.target} by the gateway {gateway}, and was given {declared[0]}"
        yield Complaint("route", cause, instead, at(LEAVE, CROSS, ANSWER, RETURN))
    if not way.neighbour.is_known:
        cause = f"the gateway {gateway}, by which {near.name} sends to {way.target}, does not answer"
        remedy = instead or f"name another gateway: {exec_in(near)}ip route get {way.target}"
        yield Complaint(
            "route", cause, remedy, at(LEAVE, CROSS, ANSWER, RETURN, RECEIVE, kinds=[Kind.NEIGHBOUR])
        )
        return
    owner = next((name for name, mac in facts.members.items() if mac == way.neighbour.mac), "")
    passed = ("", "host", facts.far.name) if facts.far.kind == "outside" else (facts.far.name,)
    if owner not in passed:
        whose = owner or way.neighbour.mac
        cause = (
            f"{near.name} sends to {way.target} by the gateway {gateway} ({whose}), which does not pass it on"
        )
        remedy = "let the gateway forward it: sysctl net.ipv4.ip_forward, its routes and its firewall"
        yield Complaint("route", cause, remedy, at(CROSS, kinds=[Kind.ECHO, Kind.TCP]))


# --------------------------------------------------------------------------------------------- neighbours


def neighbours(facts: Facts, way: Way) -> Iterator[Complaint]:
    near, far = facts.near, facts.far
    if far.kind == "outside":
        return
    if not way.there.gateway:
        yield from _entry(
            facts, near, far, way.target, way.neighbour.mac, way.neighbour.state, at(LEAVE, CROSS, ANSWER)
        )
    if way.back is not None and not way.back.gateway and way.back.dev == far.ifname:
        entry = way.back_neighbour
        yield from _entry(facts, far, near, way.source, entry.mac, entry.state, at(ANSWER, RETURN, RECEIVE))
        if entry.state in ("incomplete", "failed"):
            cause = f"{far.name} does not find the MAC of {near.name} ({way.source}), so it can't answer"
            yield Complaint("neighbour", cause, f"vnicctl check {far.name} {near.name}", at(ANSWER, RETURN))


def _entry(
    facts: Facts, end: End, other: End, ip: str, mac: str, state: str, points: frozenset[Point]
) -> Iterator[Complaint]:
    link = other.link
    real = link.mac if link else other.mac
    if not mac or not real or state in ("", "incomplete", "failed", "noarp") or mac in (real, other.mac):
        return
    owner = next((name for name, each in facts.members.items() if each == mac), "")
    if owner in (holder.name for way in facts.ways for holder in (*way.holders, *way.source_holders)):
        return  # which follows from that the address is there twice
    whose = f", that of {owner}" if owner else ""
    cause = f"{end.name} takes {mac}{whose} for the MAC of {ip}, and {other.name} has {real}"
    if state == "permanent":
        cause += " (a static entry)"
    yield Complaint("neighbour", cause, f"{exec_in(end)}ip neigh del {ip} dev {end.ifname}", points, True)


def settings(near: End, far: End, way: Way) -> Iterator[Complaint]:
    for end, stage in ((far, ANSWER), (near, RECEIVE)):
        scene = end.scene
        if scene is None or end.kind == "outside":
            continue
        prefix, name = exec_in(end), end.ifname

        def value(path: str, settings: dict[str, str] = scene.sysctls) -> int:
            text = settings.get(path, "0")
            return int(text) if text.isdigit() else 0

        if way.version == 4 and end.grew("TcpExt.IPReversePathFilter") > 0:
            cause = f"{end.name} drops what comes by {name} from there, as it would answer by another way (rp_filter)"
            keys = f"net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0"
            remedy = f"{prefix}sysctl -w {keys}; or mend its route back"
            yield Complaint("answer", cause, remedy, at(stage))
        ignore = max(value("ipv4/conf/all/arp_ignore"), value(f"ipv4/conf/{name}/arp_ignore"))
        if way.version == 4 and ignore and stage is ANSWER:
            cause = f"{end.name} does not answer ARP requests (arp_ignore is {ignore})"
            remedy = f"{prefix}sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.{name}.arp_ignore=0"
            yield Complaint("neighbour", cause, remedy, at(ANSWER, kinds=[Kind.NEIGHBOUR]))
        echo = "ipv4/icmp_echo_ignore_all" if way.version == 4 else "ipv6/icmp/echo_ignore_all"
        if value(echo) and stage is ANSWER:
            key = "net." + echo.replace("/", ".")
            cause = f"{end.name} answers no echo requests ({key} is 1)"
            remedy = f"{prefix}sysctl -w {key}=0; or check TCP: --tcp PORT"
            yield Complaint("answer", cause, remedy, at(ANSWER, kinds=[Kind.ECHO]))
