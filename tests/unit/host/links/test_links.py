"""Links under any order of events: requests, answers, deaths, late, duplicate and wrong messages."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Sequence

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.framework.descriptors import open_fds
from vnicd.host.links.manager import STEP_TIMEOUT, Link, Links, State, pair
from vnicd.protocol.registration import Message

PORTS = st.integers(0, 2)
IDS = st.integers(0, 5)
WRONG_ID = 12345
REPORTS = ["made", "attached", "refused", "idle", "promote", "closed", "failed", "gone"]

AFTER: dict[str, set[str | None]] = {
    "make": {None},
    "attach": {"make"},
    "open": {"attach", "adopted"},
    "close": {"open"},
    "drop": {None, "make", "attach", "open", "close", "adopted"},
}
"""{order: what an end may have been told about that link before}."""


class Ends(RuleBasedStateMachine):
    """Plays all ends of the links, honest and not, and keeps account of what each was told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.links = Links(self.take, lambda: self.now)
        self.links.on_up, self.links.on_down = self.went_up, self.went_down
        self.told: dict[int, dict[tuple[int, int], str]] = {port: {} for port in range(3)}
        """{port: {(peer, link id): last order}}."""
        self.known = [WRONG_ID]
        self.inodes: dict[tuple[int, int], int] = {}
        """{(link id, port): inode of its memory}."""
        self.attached: dict[int, set[int]] = {}
        self.ended: set[int] = set()
        self.liars: set[tuple[int, int]] = set()
        """(port, link id) of ends that say they have attached what they were never given."""
        self.fds = open_fds(collect=False)

    def teardown(self) -> None:
        for port in range(3):
            self.links.port_down(port)
        assert not self.links.links and not self.links.by_id
        assert open_fds(collect=False) == self.fds

    def ident(self, which: int) -> int:
        return self.known[-1 - which % len(self.known)]

    def take(self, port: int, message: Message, fds: Sequence[int]) -> None:
        op, ident, peer = message["op"], message["link_id"], message["peer"]
        last = self.told[port].get((peer, ident))
        assert port in self.links.live, f"{op} to a dead port"
        assert last in AFTER[op] or (port, ident) in self.liars, f"{op} after {last}"
        assert len(fds) == (2 if op == "attach" else 0)
        if op == "make" and ident not in self.known:
            self.known.append(ident)
        if op == "attach":
            assert os.fstat(fds[0]).st_ino == self.inodes[ident, peer], "the memory is the peer's"
            assert stat.S_ISSOCK(os.fstat(fds[1]).st_mode)
            self.attached[ident] = set()
        if op == "drop":
            self.told[port].pop((peer, ident), None)
        else:
            self.told[port][peer, ident] = op

    def went_up(self, link: Link) -> None:
        assert self.attached[link.ident] == set(link.ports), "both ends have attached before"

    def went_down(self, link: Link, reason: str) -> None:
        assert reason
        assert link.ident not in self.ended and not link.memory, "a link ends once"
        self.ended.add(link.ident)

    @initialize(ports=st.sets(PORTS, min_size=2))
    def some_are_there(self, ports: set[int]) -> None:
        for port in ports:
            self.links.port_up(port)

    @rule(port=PORTS)
    def comes(self, port: int) -> None:
        self.links.port_up(port)

    @rule(port=PORTS)
    def dies(self, port: int) -> None:
        self.told[port].clear()
        self.links.port_down(port)
        assert not any(port in key for key in self.links.links)
        assert not any(port in link.ports for link in self.links.by_id.values())

    @rule(port=PORTS, peer=PORTS, which=IDS)
    def brings_along(self, port: int, peer: int, which: int) -> None:
        ident = self.ident(which)
        if port not in self.links.live or port == peer:
            return
        self.told[port].setdefault((peer, ident), "adopted")
        known = self.links.by_id.get(ident)
        if known is None and pair(port, peer) not in self.links.links:
            self.ended.discard(ident)
            self.attached[ident] = {port}
        elif known is not None and port in known.ports and peer in known.ports:
            self.attached.setdefault(ident, set()).add(port)
        self.links.adopt(port, peer, ident)

    @rule(ports=st.permutations(range(3)))
    def do_as_told(self, ports: list[int]) -> None:
        for port in ports:
            for (_, ident), order in list(self.told[port].items()):
                if order == "make":
                    self.made(port, ident)
                elif order == "attach":
                    self.attach(port, ident, "")
                elif order == "close":
                    self.links.closed(port, ident)

    @rule(a=PORTS, b=PORTS, answers=st.integers(0, 4))
    def want_each_other(self, a: int, b: int, answers: int) -> None:
        self.links.request(a, b)
        for port in (a, b, a, b)[:answers]:
            self.do_as_told([port])

    def made(self, port: int, ident: int) -> None:
        fd = os.memfd_create("link")
        self.inodes.setdefault((ident, port), os.fstat(fd).st_ino)
        if (link := self.links.by_id.get(ident)) is not None and port not in link.memory:
            self.inodes[ident, port] = os.fstat(fd).st_ino
        self.links.made(port, ident, fd, 4096)

    def attach(self, port: int, ident: int, error: str) -> None:
        link = self.links.by_id.get(ident)
        if link is not None and port in link.ports and link.state is State.ATTACHING and not error:
            self.attached.setdefault(ident, set()).add(port)
            if self.told[port].get((link.other(port), ident)) != "attach":
                self.liars.add((port, ident))
        self.links.attached(port, ident, error)

    @rule(port=PORTS, which=IDS, report=st.sampled_from(REPORTS))
    def says_something(self, port: int, which: int, report: str) -> None:
        ident = self.ident(which)
        if report == "made":
            self.made(port, ident)
        elif report in ("attached", "refused") and port in self.links.live:
            self.attach(port, ident, "" if report == "attached" else "not sealed")
        elif report in ("failed", "gone"):
            self.links.failed(port, ident, fault=report == "failed")
        elif report in ("idle", "promote", "closed"):
            getattr(self.links, report)(port, ident)

    @rule(seconds=st.sampled_from([0.5, STEP_TIMEOUT + 0.1, 400.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        late = self.links.sweep()
        assert not any(key in self.links.links for key in late)
        for link in self.links.links.values():
            assert link.state is State.UP or self.now - link.since <= STEP_TIMEOUT

    @invariant()
    def by_id_and_links_agree(self) -> None:
        assert self.links.by_id == {link.ident: link for link in self.links.links.values()}
        assert len(self.links.by_id) == len(self.links.links)
        assert all(
            key == link.ports == pair(*key) and key[0] != key[1] for key, link in self.links.links.items()
        )

    @invariant()
    def direct_links_are_counted(self) -> None:
        direct = [key for key in self.links.links if 0 not in key]
        assert all(self.links.direct[port] == sum(port in key for key in direct) for port in (1, 2))

    @invariant()
    def no_descriptor_leaks(self) -> None:
        assert open_fds(collect=False) == self.fds + sum(
            len(link.memory) for link in self.links.links.values()
        )

    @invariant()
    def links_have_live_ends(self) -> None:
        for link in self.links.links.values():
            live = self.links.live & set(link.ports)
            assert live
            assert link.state is not State.MAKING or len(live) == 2

    @invariant()
    def each_end_was_told_of_the_end(self) -> None:
        for port in self.links.live:
            for peer, ident in self.told[port]:
                link = self.links.links.get(pair(port, peer))
                assert link is not None and link.ident == ident, "an end holds a link that is no more"


class TestEnds(Ends.TestCase):  # type: ignore[name-defined,misc]
    @classmethod
    def setUpClass(cls) -> None:
        gc.collect()  # what earlier tests have left would be closed meanwhile


TestEnds.settings = settings(max_examples=100, stateful_step_count=40)


def test_an_end_that_brings_along_a_link_that_is_being_made_ends_it() -> None:
    """It says that it has what it was only told to make; both ends are told, and make another one."""
    told: list[tuple[int, str]] = []
    links = Links(lambda port, message, fds: told.append((port, str(message["op"]))))
    for port in (0, 1):
        links.port_up(port)
    links.request(0, 1)
    (link,) = links.links.values()
    links.adopt(0, 1, link.ident)
    assert told == [(0, "make"), (1, "make"), (0, "drop"), (1, "drop")]
    assert not links.links and not links.by_id and not links.unfinished
