"""The steps of a check and their results, as people read them: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from vnicd.check import reasons
from vnicd.check.complaint import ANSWER, CROSS, LEAVE, RECEIVE, RETURN, SEND, Complaint, Point
from vnicd.check.facts import Daemon, End, Facts, Kind, Route, Stage, Trace, Way

OK, WARN, FAILED, UNKNOWN = "ok", "warn", "failed", "-"


@dataclass(frozen=True)
class Step:
    name: str
    status: str
    """ok, warn, failed, or - where it was not come to."""
    detail: str
    family: str = ""
    """IPv4 or IPv6, where it is about one of them."""


@dataclass(frozen=True)
class Judged:
    """What was made of one way: where probes vanished, None for what came through, and what is wrong."""

    facts: Facts
    way: Way
    echo: Point | None
    tcp: Point | None
    is_own: bool
    reached: bool
    complaints: Collection[Complaint]


class Steps:
    """The steps of one way; `blamed` are the causes that were named."""

    def __init__(self, judged: Judged, blamed: Collection[str]) -> None:
        self.facts, self.way, self.judged, self.blamed = judged.facts, judged.way, judged, blamed
        self.near, self.far = judged.facts.near, judged.facts.far
        self.echo, self.family = judged.echo, family_of(judged.way)

    def common(self) -> Iterator[Step]:
        near, far, host = self.near, self.far, self.facts.host
        states = [
            f"host {_state(host, host.state)}",
            *(
                f"{end.name} {_state(end.daemon, end.state)}"
                for end in (near, far)
                if end.kind == "partition"
            ),
        ]
        yield Step("daemons", self._status("daemons"), ", ".join(states))
        if far.kind == "outside":
            uplink = self.facts.uplink
            words = f"{uplink['nic']} ({uplink['mode']}) is {uplink['state']}" if uplink else "there is none"
            yield Step("uplink", self._status("uplink"), words)
        ends = [near] if far.kind == "outside" else [near, far]
        yield Step("interfaces", self._status("interfaces"), "; ".join(map(_interface, ends)))

    def of_way(self) -> Iterator[Step]:
        way, near, far = self.way, self.near, self.far
        addresses = self._words("addresses") or f"{way.source or 'no address'} -> {way.target}"
        yield Step("addresses", self._status("addresses", bool(way.source)), addresses, self.family)
        route = self._status("route", not way.there.error)
        yield Step("route", route, _routes(way, near, far), self.family)
        yield self._neighbour_step()
        yield from self._echo_steps()
        if way.frame is not None and way.frame_back is not None:
            yield self._frames_step(way.frame, way.frame_back)
        if self.way.large is not None:
            status, words = FAILED, "do not come through"
            if self.way.large.received:
                differ = self._words("large")
                status, words = (WARN, f"come through, but {differ}") if differ else (OK, "come through")
            yield Step("large", status, f"packets of {way.large_size} bytes {words}", self.family)
        if way.echo_back is not None:
            answered = way.echo_back.received
            words = "answers" if answered else "does not answer"
            text = f"{near.name} {words} echo requests of {far.name}"
            yield Step("reverse", OK if answered else WARN, text, self.family)
        if way.tcp is not None:
            yield self._tcp_step(way.tcp)

    def _neighbour_step(self) -> Step:
        way, far, hop = self.way, self.far.name, self.way.next_hop
        if way.neighbour.is_known:
            text = f"{hop} is at {way.neighbour.mac}"
            return Step("neighbour", self._status("neighbour"), text, self.family)
        if self.echo is None or self.echo[0] is not Kind.NEIGHBOUR:
            return Step("neighbour", UNKNOWN, f"{hop} was not asked for" if self.echo else "", self.family)
        stages = {
            LEAVE: f"and the question did not leave {self.near.ifname} of {self.near.name}",
            CROSS: f"and the question did not arrive at {far}",
            ANSWER: f"and {far} did not answer",
            RETURN: f"and the answer of {far} did not arrive",
            RECEIVE: f"and {self.near.name} did not take the answer",
        }
        where = stages.get(way.ask.stage, "")
        if way.ask.stage in (CROSS, ANSWER) and (way.there.gateway or self.far.kind == "outside"):
            where = "and nobody answered"
        return Step("neighbour", FAILED, f"{hop} was asked for, {where}", self.family)

    def _frames_step(self, there: Trace, back: Trace) -> Step:
        """Whether vnicd itself is to blame: what frames did that were put on both interfaces by hand."""
        near, far = self.near.name, self.far.name
        lost = [
            f"from {one} to {other}"
            for trace, one, other in ((there, near, far), (back, far, near))
            if not trace.arrived
        ]
        if lost:
            return Step("frames", FAILED, f"vnicd carries no frames {' nor '.join(lost)}", self.family)
        return Step("frames", OK, "vnicd itself carries frames both ways", self.family)

    def _echo_steps(self) -> Iterator[Step]:
        """How far the echo request came, there and back."""
        near, far = self.near, self.far
        place = "the uplink" if far.kind == "outside" else f"{far.ifname} of {far.name}"
        trace = self.way.echo
        error = f" ({trace.error})" if trace.error else ""
        door = f"{near.ifname} of {near.name}"
        texts: tuple[tuple[str, tuple[Stage, ...], str, str], ...] = (
            ("sent", (SEND, LEAVE), f"left {door}", f"did not leave {door}{error}"),
            ("crossed", (CROSS,), f"came out at {place}", f"did not arrive at {place}{_counters(near, far)}"),
            ("answer", (ANSWER,), f"{far.name} answered", f"{far.name} did not answer"),
            ("returned", (RETURN,), f"the answer came out at {door}",
             f"the answer did not arrive at {near.name}{_counters(far, near)}"),
            ("received", (RECEIVE,), f"in {trace.rtt_ms:.2f} ms", f"the kernel of {near.name} dropped the answer"),
        )  # fmt: skip
        stage, order = trace.stage, list(Stage)
        if self.echo is not None and self.echo[0] is Kind.NEIGHBOUR:
            texts = tuple((name, stages, "", "") for name, stages, _, _ in texts)
            stage = SEND
        for name, stages, good, bad in texts:
            if self.judged.is_own:
                yield Step(name, UNKNOWN, f"{near.name} answers itself", self.family)
            elif stage in stages and bad:
                yield Step(name, FAILED, (self._words(name) if name == "crossed" else "") or bad, self.family)
            elif order.index(stage) <= order.index(stages[0]):
                yield Step(name, UNKNOWN, "", self.family)
            else:
                yield Step(name, OK, good, self.family)

    def _tcp_step(self, trace: Trace) -> Step:
        port = self.facts.tcp_port
        if self.judged.tcp is None:
            return Step("tcp", OK, f"port {port} accepts connections, in {trace.rtt_ms:.2f} ms", self.family)
        words = {
            SEND: "was not sent", LEAVE: "did not leave", CROSS: "did not arrive", ANSWER: "was not answered",
            RETURN: "was answered, but the answer got lost", RECEIVE: "was answered, but not taken",
        }[trace.stage]  # fmt: skip
        if trace.reset:
            words = "was refused by a reset"
        elif trace.refusals:
            words = f"was refused by ICMP: {reasons.refusal(self.way.version, trace.refusals[0])}"
        status = WARN if self.judged.reached else FAILED
        return Step("tcp", status, f"a connection to port {port} {words}", self.family)

    def _own(self, step: str) -> list[Complaint]:
        return [each for each in self.judged.complaints if each.step == step]

    def _status(self, step: str, is_well: bool = True) -> str:
        own = self._own(step)
        if not is_well or any(each.cause in self.blamed for each in own):
            return FAILED
        return WARN if own and not self.judged.reached else OK

    def _words(self, step: str) -> str:
        """What is wrong, where the step would show something else; empty if nothing is."""
        own = self._own(step)
        first = next((each for each in own if each.cause in self.blamed), None)
        if first is None and not self.judged.reached:
            first = next(iter(own), None)
        return (first.brief or first.cause) if first is not None else ""


def family_of(way: Way) -> str:
    return f"IPv{way.version}"


def _state(daemon: Daemon, state: str) -> str:
    words = daemon.state if daemon.state != "up" else state
    return f"{words} without free descriptors" if daemon.is_full else words


def _interface(end: End) -> str:
    link = end.link
    if link is None:
        return f"{end.name} has none"
    up = ("up" if link.carrier else "no carrier") if link.is_up else "down"
    odd = [
        *(["NOARP"] if link.no_arp else []),
        *(["XDP"] if link.xdp else []),
        *([f"part of the {link.master}"] if link.master else []),
        *([f"MAC {link.mac}"] if end.kind == "partition" and end.mac not in ("", link.mac) else []),
    ]
    return ", ".join([f"{end.name} {link.name} {up}", f"MTU {link.mtu}", *odd])


def _routes(way: Way, near: End, far: End) -> str:
    text = f"{near.name}: {_route(way.there)}"
    return f"{text}; {far.name}: {_route(way.back)}" if way.back is not None else text


def _route(route: Route) -> str:
    if route.error:
        return f"none ({route.error})"
    if route.is_local:
        return "own address"
    return f"{route.dev}, by {route.gateway}" if route.gateway else str(route.dev)


def _counters(sender: End, receiver: End) -> str:
    """What the daemons counted meanwhile, in brackets."""
    parts = []
    if sender.taken is not None:
        parts.append(f"{sender.name} took {sender.taken} frames")
        parts += [f"dropped {number} as {reason}" for reason, number in sender.drops.items()]
    if receiver.given is not None and receiver.kind != "outside":
        parts.append(f"{receiver.name} got {receiver.given}")
        parts += [f"dropped {number} as {reason}" for reason, number in receiver.drops.items()]
    return f" ({', '.join(parts)})" if parts else ""
