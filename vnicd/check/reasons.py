"""Words that several parts of a check need: drop reasons, ICMP errors, and how a command is run inside an end."""

from __future__ import annotations

from vnicd.check.complaint import ANSWER, CROSS, LEAVE, RECEIVE, RETURN, SEND, Point
from vnicd.check.facts import End, Facts, Json, Kind, Refusal, Way
from vnicd.spec.uplink import gift

DROPS = {
    "bad_source": (
        "the source MAC is not the partition's",
        "give the interface its MAC back; bridges have no way out",
    ),
    "no_destination": ("no port has the MAC that they are for", "ip neigh flush, or set an uplink"),
    "own_destination": ("they are for the sender's own MAC", "look for a wrong static neighbour entry"),
    "not_mine": ("they are for a MAC that the receiver does not have", "ip neigh flush in the sender"),
    "peer_down": ("the receiver has no running daemon", "vnicctl doctor"),
    "no_link": ("there is neither a direct link nor a relay", "vnicctl doctor"),
    "ring_full": (
        "the receiver's ring is full: its daemon does not read",
        "give the receiver CPU time; vnicctl doctor",
    ),
    "bad_frame": ("the frames are malformed", "look for the program that makes such frames"),
    "tap_down": ("the receiving interface is down or gone", "ip link set it up in the receiver"),
    "tap_refused": ("the receiving kernel refuses them", "look for the program that makes such frames"),
    "tap_full": ("the receiving kernel has no memory for them", "free memory"),
    "bad_address": (
        "the source address is not the partition's",
        "give the partition that address with --address",
    ),
    "too_big": ("they are larger than the uplink's MTU", "give the partition the NIC's MTU"),
    "over_rate": ("the rate limit is used up", "a larger --rate, or send less"),
    "uplink_down": ("the NIC is down or gone", "vnicctl uplink show"),
    "uplink_refused": ("the kernel refuses them at the NIC", "vnicctl uplink show"),
    "uplink_full": ("the NIC's queue is full", "send less, or set a rate limit"),
    "unread": ("the link's other end died before it read them", "see the receiver's log"),
    "storm": ("there are too many broadcasts", "find the program that sends so many"),
}
"""What docs/reference/counters.md says of a drop reason, in a few words, and what to do."""

_UNREACHABLE = {
    4: {0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
        9: "network prohibited", 10: "host prohibited", 13: "administratively prohibited"},
    6: {0: "no route", 1: "administratively prohibited", 3: "address unreachable", 4: "port unreachable",
        5: "source address failed policy", 6: "reject route"},
}  # fmt: skip
_KINDS = {
    4: {3: "", 11: "time exceeded", 12: "parameter problem"},
    6: {1: "", 2: "packet too big", 3: "time exceeded"},
}


def refusal(version: int, found: Refusal) -> str:
    """An ICMP error in words."""
    if found.mtu:
        return f"packet too big, {found.mtu} bytes pass"
    return _KINDS[version].get(found.kind) or _UNREACHABLE[version].get(
        found.code, f"error {found.kind}/{found.code}"
    )


def exec_in(end: End) -> str:
    """What stands before a command that is to run inside an end."""
    return "" if end.kind != "partition" else f"vnicctl exec {end.name} -- "


def put_back(end: End, remedy: str) -> str:
    """The remedy for what the hosting daemon itself mends in a namespace of its own."""
    return (
        f"vnicd puts it back within 3 s; or: {remedy}"
        if end.owns_netns and end.kind == "partition"
        else remedy
    )


def remedy_of_missing(end: End) -> str:
    if end.kind == "host" and end.daemon.state == "dead":
        return "vnicctl up"
    if end.kind == "host":
        return "vnicctl uplink none --address CIDR, or vnicctl uplink set NIC"
    return f"vnicctl doctor; or make it anew: vnicctl partition remove {end.name}, and add"


def give_address(end: End, uplink: Json | None, gateway: bool = False) -> str:
    """The command that gives an end without an address one, with those that an uplink in nat mode has free for it."""
    if end.kind != "partition":
        return f"ip address add CIDR dev {end.ifname}"
    free = (uplink or {}).get("without_address", {}).get(end.name)
    if uplink is not None and free is not None:
        words = gift(uplink["subnets"], free)
    else:
        words = "--address CIDR --gateway ADDRESS" if gateway else "--address CIDR"
    return f"vnicctl partition set {end.name} {words}"


WHAT = {
    Kind.NEIGHBOUR: "the question for its MAC",
    Kind.ECHO: "the echo request",
    Kind.TCP: "the TCP segment",
}


def plain(facts: Facts, way: Way, point: Point) -> tuple[str, str]:
    """Where a probe vanished and where to look, if nothing else can be said."""
    kind, stage = point
    near, far, what = facts.near.name, facts.far.name, WHAT[kind]
    trace = way.tcp if kind is Kind.TCP else way.echo
    why = f" ({trace.error})" if trace is not None and trace.error else ""
    if facts.far.kind == "outside" and stage in (CROSS, ANSWER, RETURN):
        return _plain_outside(facts, way, point)
    answer = "refuses it" if trace is not None and trace.reset else "does not answer"
    return {
        SEND: (f"the kernel of {near} does not send to {way.target}{why}",
               f"{exec_in(facts.near)}ip route get {way.target}"),
        LEAVE: (f"{what} does not leave {facts.near.ifname} of {near}{why}",
                f"{exec_in(facts.near)}nft list ruleset; tc -s qdisc"),
        CROSS: (f"{what} left {near} and did not arrive at {far}", f"vnicctl stats {near}; vnicctl stats {far}"),
        ANSWER: (f"{what} arrived at {far}, which {answer}",
                 f"look at the firewall, the routes and the counters (nstat) of {far}"),
        RETURN: (f"{far} answers, and the answer does not arrive at {near}",
                 f"vnicctl stats {far}; vnicctl stats {near}"),
        RECEIVE: (f"the answer of {far} arrives at {near}, which does not take it",
                  f"look at the firewall and the counters (nstat) of {near}"),
    }[stage]  # fmt: skip


def _plain_outside(facts: Facts, way: Way, point: Point) -> tuple[str, str]:
    """The same of what is on its way to or from the outside."""
    kind, stage = point
    far, look = facts.far.name, f"vnicctl uplink show; vnicctl stats {facts.near.name}"
    if kind is Kind.NEIGHBOUR and stage is not RETURN:
        return f"nobody answers for {way.next_hop}", f"is {way.next_hop} the right address, and is it up?"
    if kind is Kind.TCP and way.tcp is not None and way.tcp.reset:
        return (
            f"{far} refuses connections to port {facts.tcp_port}",
            f"is the service there? does {far} let it in?",
        )
    if stage is CROSS:
        return f"{WHAT[kind]} left {facts.near.name} and did not leave by the uplink", look
    if stage is ANSWER:
        return (
            f"{WHAT[kind]} left by the uplink, and {far} does not answer",
            f"is {far} up? does its firewall let it in?",
        )
    return f"{far} answers, and the answer does not get from the uplink to {facts.near.name}", look
