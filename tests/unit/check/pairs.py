"""Facts of a pair that talks, and ways to spoil them."""

from __future__ import annotations

from dataclasses import replace

from vnicd.check.facts import (
    Address,
    Daemon,
    End,
    Facts,
    Kind,
    Link,
    Neighbour,
    Route,
    Scene,
    Trace,
    Way,
)
from vnicd.check.verdict import Verdict

BLUE, GREEN = "02:00:00:00:00:01", "02:00:00:00:00:02"


def whole(kind: Kind = Kind.ECHO, **more: object) -> Trace:
    """A probe that came there and back."""
    return replace(Trace(kind, "", True, True, True, True, True, rtt_ms=0.2), **more)  # type: ignore[arg-type]


def up_to(stage: str, kind: Kind = Kind.ECHO, **more: object) -> Trace:
    """A probe that vanished at a stage."""
    seen = ["leave", "cross", "answer", "return", "receive"].index(stage)
    return replace(Trace(kind, "", *(number < seen for number in range(4)), False), **more)  # type: ignore[arg-type]


def scene(mac: str, address: str) -> Scene:
    links = {"lo": Link("lo", 1), "vnic0": Link("vnic0", 2, mac=mac, mtu=1500, kind="tun")}
    return Scene(links, [Address("lo", "127.0.0.1/8"), Address("vnic0", address)])


def end(name: str, mac: str, address: str, pid: int) -> End:
    return End(
        name, netns=f"/run/netns/{name}", mac=mac, mtu=1500, addresses=(address,), daemon=Daemon(pid),
        scene=scene(mac, address), taken=4, given=4,
    )  # fmt: skip


def pair() -> Facts:
    """Two partitions that talk."""
    way = Way(
        4, "10.77.0.2", "10.77.0.1", Route(dev="vnic0", source="10.77.0.1"), Route(dev="vnic0"), "10.77.0.2",
        Neighbour(GREEN, "reachable"), Neighbour(BLUE, "reachable"), echo=whole(target_mac=GREEN),
        echo_back=whole(), large=whole(), large_size=1500,
    )  # fmt: skip
    blue, green = end("blue", BLUE, "10.77.0.1/24", 11), end("green", GREEN, "10.77.0.2/24", 12)
    members = {"blue": BLUE, "green": GREEN, "red": "02:00:00:00:00:03"}
    return Facts(blue, green, [way], Daemon(10), path="direct", members=members)


def vanishes(facts: Facts, stage: str, **more: object) -> None:
    facts.ways[0].echo = up_to(stage, **more)


def unknown(facts: Facts, stage: str) -> None:
    """The echo request waits for the neighbour, and the question for it vanishes."""
    way = facts.ways[0]
    way.echo, way.ask, way.neighbour = (
        up_to("leave"),
        up_to(stage, Kind.NEIGHBOUR),
        Neighbour("", "incomplete"),
    )


def blue(facts: Facts) -> Scene:
    assert facts.near.scene
    return facts.near.scene


def green(facts: Facts) -> Scene:
    assert facts.far.scene
    return facts.far.scene


def causes(verdict: Verdict) -> str:
    return " | ".join(each.cause for each in verdict.findings)


def outside() -> Facts:
    facts = pair()
    facts.far = End("192.0.2.1", "outside", ifname="eth1", netns="/proc/10/ns/net", state="")
    facts.near.gateways = ("10.77.0.254",)
    facts.uplink = {"nic": "eth1", "mode": "nat", "state": "up", "reason": ""}
    way = facts.ways[0]
    way.target, way.next_hop, way.back, way.echo_back = "192.0.2.1", "10.77.0.254", None, None
    way.there, way.neighbour = (
        Route(dev="vnic0", gateway="10.77.0.254"),
        Neighbour("02:00:00:00:00:fe", "reachable"),
    )
    return facts


def stopped_daemon(facts: Facts) -> None:
    facts.far.daemon.state = "stopped"
    vanishes(facts, "cross")
