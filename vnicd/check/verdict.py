"""The verdict on what was found out: the steps with their results, the cause and the remedy; pure.

Theory of operation. Watching both interfaces says at which *point* a probe vanished: what it was and at which stage
(facts.py). Each complaint (causes.py) says at which points it would make a probe vanish. The first one that explains
the point is the cause; without one, a firewall rule that may have taken the probe, or what the counters tell. The other
complaints are notes, but for those that are wrong in any case: they are findings where probes came through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from vnicd.check import causes, firewall, reasons
from vnicd.check.complaint import ANSWER, CROSS, LEAVE, RECEIVE, RETURN, SEND, Complaint, Point
from vnicd.check.facts import End, Facts, Kind, Trace, Way
from vnicd.check.steps import Judged, Step, Steps, family_of
from vnicd.spec.names import lo_down


@dataclass(frozen=True)
class Finding:
    cause: str
    remedy: str


@dataclass
class Verdict:
    reached: bool
    """Whether probes came there and back, in each family."""
    steps: list[Step] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    path: str = ""
    rtt_ms: float | None = None
    direct_sockets: int | None = None

    @property
    def is_well(self) -> bool:
        return self.reached and not self.findings

    def to_json(self) -> dict[str, Any]:
        return {
            "well": self.is_well,
            "reached": self.reached,
            "path": self.path or None,
            "rtt_ms": self.rtt_ms,
            "direct_sockets": self.direct_sockets,
            "steps": [asdict(step) for step in self.steps],
            "findings": [asdict(finding) for finding in self.findings],
            "notes": self.notes,
        }


def judge(facts: Facts) -> Verdict:
    """The verdict; `facts.ways` has one way at least."""
    judged = [_Way(facts, way) for way in facts.ways]
    causes_ = [each.cause() for each in judged]
    served = any(each.way.tcp is not None and each.tcp is None for each in judged)
    for each, cause in zip(judged, causes_, strict=True):
        # A service may be there for one family alone.
        each.is_excused = served and cause is not None and cause.step == "tcp"
    verdict = Verdict(all(each.reached or each.is_excused for each in judged), path=facts.path)
    verdict.direct_sockets = facts.direct_sockets
    times = [each.rtt_ms for each in judged if each.rtt_ms]
    verdict.rtt_ms = round(min(times), 3) if times else None
    findings = [cause for each, cause in zip(judged, causes_, strict=True) if cause and not each.is_excused]
    findings += [found for each in judged if each.reached for found in each.always()]
    remedies: dict[str, str] = {}
    for found in findings:
        remedies.setdefault(found.cause, found.remedy)
    verdict.findings = [Finding(cause, remedy) for cause, remedy in remedies.items()]
    verdict.notes = [
        f"{cause.cause} ({family_of(each.way)})"
        for each, cause in zip(judged, causes_, strict=True)
        if cause and each.is_excused
    ]
    verdict.notes += list(dict.fromkeys(text for each in judged for text in each.notes(remedies)))
    steps = [Steps(each.result(), remedies) for each in judged]
    verdict.steps = [*steps[0].common(), *(step for each in steps for step in each.of_way())]
    return verdict


class _Way:
    """One way and what is wrong with it."""

    def __init__(self, facts: Facts, way: Way) -> None:
        self.facts, self.way = facts, way
        self.near, self.far = facts.near, facts.far
        self.complaints = causes.of(facts, way)
        self.is_excused = False
        """The service is not there for this family, but for another."""
        self.is_own = way.there.is_local
        """The near end answers itself, as it has the address."""
        self.echo = None
        if self.is_own:
            self.echo = Kind.ECHO, SEND
        elif self._is_answered_by_another():
            self.echo = Kind.ECHO, CROSS
        elif not way.echo.received:
            self.echo = point_of_echo(facts, way)
        self.tcp = None
        if way.tcp is not None and not (way.tcp.received and not self.is_own):
            self.tcp = Kind.TCP, way.tcp.stage

    def _is_answered_by_another(self) -> bool:
        """Whether an answer came, but the request was never at the far end, and had another's MAC."""
        echo, far = self.way.echo, self.far
        known = {far.mac, far.link.mac if far.link else ""} - {""}
        sent_elsewhere = bool(known) and bool(echo.target_mac) and echo.target_mac not in known
        return echo.received and not echo.arrived and sent_elsewhere and not self.way.there.gateway

    @property
    def reached(self) -> bool:
        """By TCP where that was asked for, as echo requests may be filtered."""
        return self.tcp is None if self.way.tcp is not None else self.echo is None

    def result(self) -> Judged:
        reached = self.reached or self.is_excused
        return Judged(self.facts, self.way, self.echo, self.tcp, self.is_own, reached, self.complaints)

    @property
    def rtt_ms(self) -> float:
        return self.way.echo.rtt_ms if self.echo is None else 0.0

    # ------------------------------------------------------------------------------------------- causes

    def cause(self) -> Complaint | None:
        """What keeps the probe from coming through; None when it came."""
        if self.reached:
            return None
        if self.tcp is None:
            assert self.echo is not None
            return self._explain(self.echo)
        assert self.way.tcp is not None
        if self.echo is not None:
            # What keeps echo requests out as well is the cause, unless it is about them alone.
            waits = self.echo[0] is Kind.NEIGHBOUR
            found = self._explain(self.echo, firewalls=waits)
            if found is not None and (waits or found.step != "answer"):
                return found
        if self.tcp[1] in (ANSWER, RECEIVE) or self.way.tcp.reset or self.echo is None:
            found = next(iter(causes.of_tcp(self.facts, self.way)), None)
            if found is not None:
                return found
        return self._explain((Kind.TCP, ANSWER) if self.way.tcp.reset else self.tcp)

    def _explain(self, point: Point, firewalls: bool = True) -> Complaint | None:
        found = next((each for each in self.complaints if point in each.explains), None)
        if found is not None or not firewalls:
            return found
        trace = self.way.tcp if point[0] is Kind.TCP else self.way.echo
        assert trace is not None
        return self._suspect(point) or self._refused(trace) or self._counted(point) or self._plain(point)

    def always(self) -> Iterator[Complaint]:
        """What is wrong though it does not explain where the probe vanished."""
        return (each for each in self.complaints if each.always)

    def _suspect(self, point: Point) -> Complaint | None:
        """A firewall rule that may have taken the probe."""
        for end, packet, hooks in self._packets(point):
            legacy = end.before.legacy, end.after.legacy
            found = firewall.suspects(end.before.nft, end.after.nft, legacy, packet, hooks)
            if found:
                first = found[0]
                certain = "; its counter has grown" if first.counted else ""
                whose = "the machine" if end.kind == "outside" else end.name
                cause = f"the firewall of {whose} drops it: {first.where}: {first.rule}{certain}"
                remedy = f"{reasons.exec_in(end)}{first.remedy}" if first.remedy else "see: nft list ruleset"
                return Complaint(_STEPS[point[1]], cause, remedy, frozenset({point}))
        return None

    def _packets(self, point: Point) -> Iterator[tuple[End, firewall.Packet, tuple[str, ...]]]:
        """The packets that may have been dropped at a point, with the end and the hooks where."""
        kind, stage = point
        way, near, far = self.way, self.near, self.far
        icmp = "icmp" if way.version == 4 else "icmpv6"
        neighbour = "arp" if way.version == 4 else "icmpv6"
        protocol = {Kind.TCP: "tcp", Kind.ECHO: icmp, Kind.NEIGHBOUR: neighbour}[kind]
        port = self.facts.tcp_port if kind is Kind.TCP else 0
        there = {"source": way.source, "target": way.target, "target_port": port}
        back = {"source": way.target, "target": way.source, "source_port": port}
        if kind is Kind.NEIGHBOUR:
            there = back = {}

        def packet(words: dict[str, Any], iif: str = "", oif: str = "", **more: Any) -> firewall.Packet:
            return firewall.Packet(way.version, protocol, iif=iif, oif=oif, **words, **more)

        if far.kind == "outside" and self.facts.is_routed:
            vnic = self.facts.vnic
            if stage is CROSS:
                yield far, packet(there, vnic, far.ifname, vnic=vnic), firewall.HOOKS_THROUGH
            elif stage is RETURN:
                answer: dict[str, Any] = {"vnic": vnic, "is_answer": True}
                yield far, packet(back, far.ifname, vnic, **answer), ("forward", "postrouting")
                # It is for the machine's own address there.
                yield (
                    far,
                    packet({**back, "target": ""}, far.ifname, **answer),
                    ("ingress", "prerouting"),
                )
        if far.kind == "outside" and stage in (CROSS, ANSWER, RETURN):
            return
        if stage in (SEND, LEAVE):
            yield near, packet(there, oif=near.ifname), firewall.HOOKS_OUT
        elif stage is ANSWER:
            if kind is not Kind.ECHO or not far.grew("Icmp.InEchos" if way.version == 4 else "Icmp6InEchos"):
                yield far, packet(there, far.ifname), firewall.HOOKS_IN
            yield far, packet(back, oif=far.ifname), firewall.HOOKS_OUT
        elif stage is RECEIVE:
            yield near, packet(back, near.ifname), firewall.HOOKS_IN

    def _refused(self, trace: Trace) -> Complaint | None:
        """An ICMP error that came instead of an answer."""
        for each in trace.refusals:
            words = reasons.refusal(self.way.version, each)
            whose = self.far.name if each.sender == self.way.target else each.sender
            cause = f"{whose} refuses it by ICMP: {words}"
            return Complaint("answer", cause, f"look at the routes and the firewall of {whose}", frozenset())
        return None

    def _counted(self, point: Point) -> Complaint | None:
        """What the counters of vnicd say."""
        if point[1] not in (CROSS, RETURN):
            return None
        sender, receiver = (self.near, self.far) if point[1] is CROSS else (self.far, self.near)
        step = _STEPS[point[1]]
        for whose, drops in (
            (sender.name, sender.drops),
            (receiver.name, receiver.drops),
            ("the host", self.facts.host_drops),
        ):
            for reason, number in drops.items():
                words, remedy = reasons.DROPS.get(reason, ("see docs/reference/counters.md", "vnicctl stats"))
                cause = f"the daemon of {whose} dropped {number} frames meanwhile as {reason}: {words}"
                return Complaint(step, cause, remedy, frozenset())
        if sender.taken == 0:
            cause = (
                f"the daemon of {sender.name}, pid {sender.daemon.pid}, takes no frames from {sender.ifname}"
            )
            again = f"kill {sender.daemon.pid}" if sender.kind == "host" else _restart(sender)
            return Complaint(
                step, cause, f"vnicctl debug trace {sender.name}; if it hangs: {again}", frozenset()
            )
        if receiver.given == 0 and sender.kind != "outside":  # else it may not have got so far
            pid = receiver.daemon.pid
            cause = f"frames for {receiver.name} wait: its daemon, pid {pid}, gives none to {receiver.ifname}"
            again = f"kill {pid}" if receiver.kind == "host" else _restart(receiver)
            remedy = f"vnicctl debug link {sender.name} {receiver.name}; if it hangs: {again}"
            return Complaint(step, cause, remedy, frozenset())
        return None

    def _plain(self, point: Point) -> Complaint:
        """Where it vanished, if nothing else can be said."""
        return Complaint(_STEPS[point[1]], *reasons.plain(self.facts, self.way, point), frozenset())

    # -------------------------------------------------------------------------------------------- notes

    def notes(self, blamed: Collection[str]) -> Iterator[str]:
        way, near, far = self.way, self.near.name, self.far.name
        if way.tcp is not None and self.tcp is None and self.echo is not None:
            yield f"{far} answers no echo requests ({family_of(way)}), but TCP works"
        if self.echo is None and way.echo_back is not None and not way.echo_back.received:
            text = f"{near} answers no echo requests of {far} ({family_of(way)})"
            yield f"{text}; to know why: vnicctl check {far} {near}"
        if way.there.mtu and self.near.link and way.there.mtu < self.near.link.mtu:
            yield f"{near} has learned that the path to {way.target} takes {way.there.mtu} bytes only"
        for end in (self.near, self.far):
            lo = end.scene.links.get("lo") if end.scene else None
            if lo is not None and not lo.is_up and end.kind == "partition":
                yield ": ".join(lo_down(end.name))
        if not self.reached and not self.is_excused:
            yield from (each.cause for each in self.complaints if each.cause not in blamed)


def _restart(end: End) -> str:
    return f"vnicctl partition restart {end.name}"


def point_of_echo(facts: Facts, way: Way) -> Point:
    """Where the echo request vanished, or the question for the neighbour that went before it."""
    stage = way.echo.stage
    if stage not in (SEND, LEAVE) or way.there.dev != facts.near.ifname:
        return Kind.ECHO, stage
    if way.neighbour.is_known or (way.echo.error and not way.ask.left):
        return Kind.ECHO, stage
    if way.ask.left or way.neighbour.state in ("incomplete", "failed"):
        return Kind.NEIGHBOUR, way.ask.stage
    return Kind.ECHO, stage


_STEPS = {
    SEND: "sent",
    LEAVE: "sent",
    CROSS: "crossed",
    ANSWER: "answer",
    RETURN: "returned",
    RECEIVE: "received",
}
