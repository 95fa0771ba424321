"""What can be wrong with the addresses of both ends, as complaints; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from vnicd.check.complaint import ALL, ANSWER, CROSS, LEAVE, RETURN, SEND, Complaint, Point, at
from vnicd.check.facts import Address, End, Facts, Way
from vnicd.check.reasons import exec_in, put_back


def _held(end: End, ip: str) -> list[Address]:
    return [each for each in end.scene.addresses if each.ip == ip] if end.scene else []


def _declared(end: End, version: int) -> list[str]:
    return [text for text in end.addresses if ipaddress.ip_interface(text).version == version]


def _add(end: End, text: str) -> str:
    return f"{exec_in(end)}ip address add {text} dev {end.ifname}"


def own_target(facts: Facts, way: Way) -> Iterator[Complaint]:
    near = facts.near
    if not way.there.is_local:
        return
    where = ", ".join(each.ifname for each in _held(near, way.target)) or "its local table"
    cause = f"{near.name} has the address {way.target} of {facts.far.name} itself, on {where}"
    prefix = next((each.text for each in _held(near, way.target)), way.target)
    yield Complaint("addresses", cause, f"{exec_in(near)}ip address del {prefix} dev {where}", ALL, True)


def disabled(end: End, way: Way, points: frozenset[Point]) -> Iterator[Complaint]:
    if way.version != 6 or end.scene is None or end.kind == "outside":
        return
    name = f"ipv6/conf/{end.ifname}/disable_ipv6"
    if end.scene.sysctls.get(name) == "1":
        key = f"net.ipv6.conf.{end.ifname}.disable_ipv6"
        remedy = f"{exec_in(end)}sysctl -w {key}=0, and add its addresses again"
        yield Complaint(
            "addresses", f"IPv6 is switched off on {end.ifname} of {end.name} ({key})", remedy, points, True
        )
    elif end.link is not None and 0 < end.link.mtu < 1280:
        cause = f"{end.ifname} of {end.name} has an MTU of {end.link.mtu}, and IPv6 needs 1280"
        yield Complaint(
            "addresses", cause, f"{exec_in(end)}ip link set {end.ifname} mtu {end.mtu or 1500}", points, True
        )


def near_addresses(facts: Facts, way: Way) -> Iterator[Complaint]:
    near = facts.near
    if near.scene is None:
        return
    points = at(SEND, LEAVE, CROSS, ANSWER, RETURN)
    for text in _declared(near, way.version):
        yield from _address(near, text, points, points)
    if (
        facts.guarded
        and way.source
        and way.source not in (str(ipaddress.ip_interface(t).ip) for t in near.addresses)
    ):
        cause = f"{near.name} sends from {way.source}, which vnicd has not given it, and the uplink's mode forbids that"
        new = next((each.text for each in _held(near, way.source)), "...")
        words = " ".join(f"--address {text}" for text in (*near.addresses, new))  # it sets all of them
        remedy = f"add it with: vnicctl partition set {near.name} {words}, or remove it"
        yield Complaint("addresses", cause, remedy, at(CROSS))


def far_addresses(facts: Facts, way: Way) -> Iterator[Complaint]:
    far = facts.far
    if far.scene is None or far.kind == "outside":
        return
    for text in _declared(far, way.version):
        if str(ipaddress.ip_interface(text).ip) == way.target:
            yield from _address(far, text, at(CROSS, ANSWER, RETURN), at(ANSWER))
            return
    if not _held(far, way.target):
        yield Complaint(
            "addresses", f"{far.name} has no address {way.target}", _add(far, way.target), at(CROSS, ANSWER)
        )


def _address(
    end: End, text: str, missing: frozenset[Point], differs: frozenset[Point]
) -> Iterator[Complaint]:
    """What is wrong with one declared address: `missing` and `differs` are where it shows."""
    wanted = ipaddress.ip_interface(text)
    held = _held(end, str(wanted.ip))
    here = [each for each in held if each.ifname == end.ifname]
    if not held:
        cause = f"{end.name} has lost its address {text}"
        remedy = put_back(end, _add(end, text))
        yield Complaint("addresses", cause, remedy, missing, True, f"{end.name} has lost {text}")
    elif not here:
        cause = f"the address {wanted.ip} of {end.name} is on {held[0].ifname}, not on {end.ifname}"
        remedy = f"{exec_in(end)}ip address del {held[0].text} dev {held[0].ifname}; then {_add(end, text)}"
        yield Complaint("addresses", cause, remedy, missing, True)
    elif any(each.duplicate for each in here):
        cause = f"{end.name} does not use {wanted.ip}: somebody else has it (dadfailed)"
        again = f"{exec_in(end)}ip address del {here[0].text} dev {end.ifname}; then {_add(end, text)}"
        remedy = f"take it from the other; then {again}"
        yield Complaint("addresses", cause, remedy, missing | at(SEND, LEAVE), True)
    elif any(each.tentative for each in here):
        cause = f"{end.name} does not use {wanted.ip} yet (tentative): it looks for duplicates"
        yield Complaint("addresses", cause, "wait a second; or add it with: nodad", missing | at(SEND, LEAVE))
    elif all(each.interface.network.prefixlen != wanted.network.prefixlen for each in here):
        cause = f"{end.name} has {here[0].text} instead of {text}: the prefix length is wrong"
        remedy = f"{exec_in(end)}ip address del {here[0].text} dev {end.ifname}; then {_add(end, text)}"
        yield Complaint("addresses", cause, remedy, differs, True)


def holders(facts: Facts, way: Way) -> Iterator[Complaint]:
    for holders, ip, owner in (
        (way.holders, way.target, facts.far),
        (way.source_holders, way.source, facts.near),
    ):
        if holders and owner.kind != "outside":
            first = holders[0]
            others = f" (and {len(holders) - 1} more)" if len(holders) > 1 else ""
            cause = f"{first.name}{others} has the address {ip} of {owner.name}, too, on {first.ifname}"
            prefix = "" if first.name == "host" else f"vnicctl exec {first.name} -- "
            yield Complaint(
                "addresses", cause, f"{prefix}ip address del {first.text} dev {first.ifname}", ALL, True
            )
    again = [each for each in _held(facts.far, way.target) if each.ifname != facts.far.ifname]
    if facts.far.kind == "partition" and again and len(_held(facts.far, way.target)) > len(again):
        cause = f"{facts.far.name} has the address {way.target} twice: on {again[0].ifname} as well"
        remedy = f"{exec_in(facts.far)}ip address del {again[0].text} dev {again[0].ifname}"
        yield Complaint("addresses", cause, remedy, at(ANSWER, RETURN), True)
