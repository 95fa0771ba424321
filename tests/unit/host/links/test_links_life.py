"""The life of one link step by step: its orders, its pauses after faults, and what a restart brings along."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.framework.descriptors import no_more_descriptors, open_fds
from vnicd.host.links.manager import (
    DEATH_PAUSE,
    FAULT_PAUSE,
    FAULT_PAUSE_MAX,
    GIVEN_BACK_PAUSE,
    HUGE_FIRST,
    HUGE_OF_PORT,
    LINKS_OF_PORT,
    MAKING_MOST,
    MAKING_OF_PORT,
    MOST_IDENT,
    STEP_TIMEOUT,
    Links,
    State,
)
from vnicd.protocol.registration import Message


class Fabric:
    """Links of ports 0 to 3, or more, which are there, with a clock of their own; `orders` is what was sent."""

    def __init__(self, ports: int = 4) -> None:
        self.now = 1000.0
        self.orders: list[tuple[int, str, int]] = []
        self.huge: dict[tuple[int, int], bool] = {}
        """Whether a link was last to be made on huge pages."""
        self.links = Links(self.take, lambda: self.now)
        for port in range(ports):
            self.links.port_up(port)

    def take(self, port: int, message: Message, fds: Sequence[int]) -> None:
        peer = message.get("peer", 0)
        self.orders.append((port, message["op"], peer))
        if message["op"] == "make":
            self.huge[min(port, peer), max(port, peer)] = message["huge"]

    def taken(self) -> list[tuple[int, str, int]]:
        orders, self.orders = self.orders, []
        return orders

    def ident(self, a: int, b: int) -> int:
        return self.links.links[a, b].ident

    def make(self, a: int, b: int) -> int:
        """A link whose ends have their memory; its id."""
        self.links.request(a, b)
        ident = self.ident(a, b)
        for port in (a, b):
            self.links.made(port, ident, os.memfd_create("link"), 4096)
        return ident

    def join(self, a: int, b: int) -> int:
        """A link that is up; its id."""
        ident = self.make(a, b)
        for port in (a, b):
            self.links.attached(port, ident, "")
        assert self.links.links[a, b].state is State.UP
        return ident

    def fail(self, a: int, b: int) -> None:
        self.links.request(a, b)
        self.links.failed(a, self.ident(a, b))


@pytest.fixture
def fabric() -> Fabric:
    return Fabric()


def test_a_link_from_the_first_frame_to_its_return(fabric: Fabric) -> None:
    links = fabric.links
    links.request(2, 1)
    assert fabric.taken() == [(1, "make", 2), (2, "make", 1)]
    ident = fabric.ident(1, 2)
    before = open_fds()
    links.made(2, ident, os.memfd_create("link"), 2 << 20)
    assert fabric.taken() == []
    links.made(1, ident, os.memfd_create("link"), 4096)
    assert fabric.taken() == [(1, "attach", 2), (2, "attach", 1)]
    assert open_fds() == before, "neither the memory nor a doorbell stays here"
    links.attached(1, ident, "")
    links.attached(1, ident, "")
    assert fabric.taken() == []
    links.attached(2, ident, "")
    assert fabric.taken() == [(1, "open", 2), (2, "open", 1)]
    assert links.links[1, 2].page_sizes == {1: 4096, 2: 2 << 20}
    fabric.now += GIVEN_BACK_PAUSE
    links.idle(1, ident)
    links.idle(2, ident)
    assert fabric.taken() == [(1, "close", 2), (2, "close", 1)]
    links.closed(2, ident)
    links.closed(2, ident)
    assert fabric.taken() == []
    links.closed(1, ident)
    assert fabric.taken() == [(1, "drop", 2), (2, "drop", 1)]
    assert not links.links and not links.by_id
    links.request(1, 2)
    assert fabric.taken() == [(1, "make", 2), (2, "make", 1)], "after an orderly end there is no pause"


def test_a_link_with_the_host_is_never_idle(fabric: Fabric) -> None:
    fabric.links.idle(1, fabric.join(0, 1))
    assert fabric.links.links[0, 1].state is State.UP


def test_a_refusal_ends_the_link_and_the_pair_has_to_wait(fabric: Fabric) -> None:
    ident = fabric.make(1, 2)
    fabric.taken()
    fabric.links.attached(2, ident, "not sealed")
    assert fabric.taken() == [(1, "drop", 2), (2, "drop", 1)]
    fabric.links.request(1, 2)
    fabric.links.request(1, 3)
    assert fabric.taken() == [(1, "make", 3), (3, "make", 1)], "only this pair waits"
    fabric.now += FAULT_PAUSE
    fabric.links.request(1, 2)
    assert fabric.taken() == [(1, "make", 2), (2, "make", 1)]


def test_pauses_double_to_a_limit_and_a_long_life_forgives(fabric: Fabric) -> None:
    pauses = []
    for _ in range(10):
        fabric.fail(1, 2)
        pauses.append(fabric.links.pauses[1, 2][1])
        fabric.now += pauses[-1]
    assert pauses[:4] == [FAULT_PAUSE * 2**n for n in range(4)]
    assert pauses[-1] == FAULT_PAUSE_MAX
    ident = fabric.join(1, 2)
    fabric.now += FAULT_PAUSE_MAX + 1
    fabric.links.failed(1, ident)
    assert fabric.links.pauses[1, 2][1] == FAULT_PAUSE


def test_an_end_that_does_not_answer_in_time(fabric: Fabric) -> None:
    before = open_fds()
    fabric.links.request(1, 2)
    fabric.links.made(1, fabric.ident(1, 2), os.memfd_create("link"), 4096)
    up = fabric.join(1, 3)
    fabric.now += STEP_TIMEOUT
    assert fabric.links.sweep() == []
    fabric.now += 0.1
    fabric.taken()
    assert fabric.links.sweep() == [(1, 2)]
    assert fabric.taken() == [(1, "drop", 2), (2, "drop", 1)]
    assert open_fds() == before
    assert list(fabric.links.by_id) == [up]


def test_the_peers_of_a_dead_port_drop_their_links(fabric: Fabric) -> None:
    for a, b in ((0, 1), (1, 2), (2, 3)):
        fabric.join(a, b)
    fabric.taken()
    fabric.links.port_down(1)
    assert sorted(fabric.taken()) == [(0, "drop", 1), (2, "drop", 1)]
    assert list(fabric.links.links) == [(2, 3)]


def test_ends_that_outlive_the_host_bring_their_link_along(fabric: Fabric) -> None:
    fabric.links.adopt(1, 2, 77)
    fabric.links.adopt(1, 2, 77)
    assert fabric.taken() == []
    fabric.links.adopt(2, 1, 77)
    assert fabric.taken() == [(1, "open", 2), (2, "open", 1)]
    fabric.links.adopt(3, 2, 77)
    fabric.links.adopt(1, 2, 78)
    assert fabric.taken() == [(3, "drop", 2), (1, "drop", 2)], "it is another pair's, or another link"
    assert fabric.links.links[1, 2].state is State.UP


def test_what_only_one_end_brings_along_is_dropped(fabric: Fabric) -> None:
    fabric.links.adopt(1, 2, 77)
    fabric.now += STEP_TIMEOUT + 0.1
    fabric.links.sweep()
    assert (1, "drop", 2) in fabric.taken()
    assert not fabric.links.links


def test_a_port_has_no_link_with_itself(fabric: Fabric) -> None:
    fabric.links.request(1, 1)
    assert not fabric.links.links
    fabric.links.adopt(1, 1, 77)
    assert not fabric.links.links


def test_a_new_daemon_does_not_wait_for_the_faults_of_the_dead_one(fabric: Fabric) -> None:
    """A pair's pause grows to five minutes; a daemon started again, or a new partition at this port, is innocent."""
    for _ in range(4):
        fabric.fail(0, 1)
        fabric.now += fabric.links.pauses[0, 1][1]
    fabric.fail(0, 1)
    fabric.links.port_down(1)
    fabric.links.port_up(1)
    fabric.taken()
    fabric.links.request(0, 1)
    assert fabric.taken() == [(0, "make", 1), (1, "make", 0)]


def test_an_end_that_returns_has_not_closed(fabric: Fabric) -> None:
    """It registers anew while its link is closing; until it says "closed" it may still write."""
    ident = fabric.join(1, 2)
    fabric.links.idle(1, ident)
    fabric.links.adopt(1, 2, ident)
    fabric.links.closed(2, ident)
    assert ident in fabric.links.by_id


def test_traffic_gets_a_link_only_when_both_relays_are_up(fabric: Fabric) -> None:
    """Otherwise the mark that keeps the order of what the relay carries would find no way, or nobody waiting."""
    fabric.join(0, 1)
    fabric.make(0, 2)
    fabric.links.want(1, 2)
    fabric.links.want(2, 1)
    assert (1, 2) not in fabric.links.links
    for port in (0, 2):
        fabric.links.attached(port, fabric.ident(0, 2), "")
    fabric.links.want(1, 2)
    assert fabric.links.links[1, 2].state is State.MAKING
    fabric.links.want(1, 1)
    fabric.links.want(1, 9)
    assert len(fabric.links.links) == 3


def test_an_end_cannot_make_and_drop_links_all_the_time(fabric: Fabric) -> None:
    """Also where it says each time that the other end is dead, which is no fault."""
    for _ in range(3):
        fabric.links.failed(1, fabric.join(1, 2), fault=False)
        fabric.taken()
        fabric.links.request(1, 2)
        assert fabric.taken() == [], "the pair has to wait"
        fabric.now += DEATH_PAUSE
    assert fabric.links.pauses[1, 2][1] == 0, "and no longer each time"
    fabric.links.failed(1, fabric.join(1, 2), fault=False)
    fabric.links.port_down(2)
    fabric.links.port_up(2)
    fabric.join(1, 2)


def test_an_end_cannot_make_and_give_back_links_all_the_time(fabric: Fabric) -> None:
    """A link is idle after a while at the earliest; one that is given back before is a pause's work."""
    for _ in range(3):
        ident = fabric.join(1, 2)
        fabric.links.idle(1, ident)
        for port in (1, 2):
            fabric.links.closed(port, ident)
        fabric.taken()
        fabric.links.request(1, 2)
        assert fabric.taken() == [], "the pair has to wait"
        fabric.now += GIVEN_BACK_PAUSE
    assert fabric.links.pauses[1, 2][1] == 0, "and no longer each time"


def test_a_daemon_that_connects_again_waits_on(fabric: Fabric) -> None:
    fabric.fail(1, 2)
    fabric.taken()
    fabric.links.port_up(1, is_new=False)
    fabric.links.request(1, 2)
    assert fabric.taken() == []
    fabric.links.port_up(1)
    fabric.links.request(1, 2)
    assert fabric.taken() == [(1, "make", 2), (2, "make", 1)]


def test_few_links_are_made_at_once() -> None:
    """An end that answers nothing holds up no other; those to the host are made in any case."""
    fabric = Fabric()
    for port in range(256):
        fabric.links.port_up(port)
    for port in range(2, 256):
        fabric.links.request(1, port)
    assert len(fabric.links.unfinished) == MAKING_OF_PORT
    for port in range(100, 200):
        fabric.links.request(port, port + 50)
    assert len(fabric.links.unfinished) == MAKING_MOST
    fabric.links.request(0, 1)
    assert (0, 1) in fabric.links.links
    fabric.now += STEP_TIMEOUT + 1
    fabric.links.sweep()
    fabric.links.request(40, 41)
    assert (40, 41) in fabric.links.links


def close(fabric: Fabric, a: int, b: int) -> None:
    fabric.now += 60
    ident = fabric.ident(a, b)
    fabric.links.idle(a, ident)
    for port in (a, b):
        fabric.links.closed(port, ident)


def test_the_first_links_of_a_port_are_on_huge_pages() -> None:
    fabric = Fabric(HUGE_FIRST + 4)
    fabric.join(0, 1)
    for peer in range(2, HUGE_FIRST + 3):
        fabric.join(1, peer)
        assert fabric.huge[1, peer] == (peer < HUGE_FIRST + 2), "each has a share, and the relay is not of it"
    fabric.join(2, 3)
    assert fabric.huge == {**fabric.huge, (0, 1): True, (2, 3): True}
    close(fabric, 1, 2)
    fabric.join(1, HUGE_FIRST + 3)
    assert fabric.huge[1, HUGE_FIRST + 3], "what is given back is another's"


def test_a_fast_link_is_on_huge_pages_the_next_time() -> None:
    """It goes on as it is: what was begun does not depend on the host."""
    fabric = Fabric(HUGE_OF_PORT + HUGE_FIRST + 3)
    for peer in range(2, HUGE_OF_PORT + 3):
        ident = fabric.join(1, peer)
        fabric.taken()
        fabric.links.promote(1, ident)
        assert fabric.taken() == []
    last = HUGE_OF_PORT + 2
    assert not fabric.huge[1, last]
    close(fabric, 1, last)
    fabric.join(1, last)
    assert fabric.huge[1, last]
    for peer in range(2 + HUGE_FIRST, last):
        close(fabric, 1, peer)
        fabric.join(1, peer)
    assert sum(fabric.huge[1, peer] for peer in range(2, last + 1)) == HUGE_OF_PORT


def test_a_port_that_has_too_many_links_gives_one_up() -> None:
    """What finds none goes by relay until then; one port's links do not keep others from theirs."""
    fabric = Fabric(LINKS_OF_PORT + 4)
    for peer in range(2, LINKS_OF_PORT + 2):
        fabric.join(1, peer)
    last = LINKS_OF_PORT + 2
    fabric.taken()
    for _ in range(3):
        fabric.links.request(1, last)
    assert fabric.taken() == [(1, "trim", 0)], "it is not asked again at once"
    fabric.join(2, last)
    fabric.taken()
    ident = fabric.ident(1, 7)
    fabric.links.idle(1, ident)
    for port in (1, 7):
        fabric.links.closed(port, ident)
    fabric.taken()
    fabric.links.request(1, last)
    assert fabric.taken() == [(1, "make", last), (last, "make", 1)]


def test_no_link_that_was_never_made_can_be_brought_along(fabric: Fabric) -> None:
    for ident in (0, -1, MOST_IDENT + 1):
        fabric.links.adopt(1, 2, ident)
    assert fabric.taken() == []
    assert not fabric.links.links


def test_what_is_brought_along_keeps_nobody_from_a_new_link() -> None:
    fabric = Fabric(2 * MAKING_MOST)
    for peer in range(2, MAKING_MOST + 10):
        fabric.links.adopt(1, peer, 1000 + peer)
    fabric.taken()
    fabric.links.request(2, 3)
    assert fabric.taken() == [(2, "make", 3), (3, "make", 2)]


def test_a_host_without_descriptors_for_a_doorbell_gives_up_that_link_alone() -> None:
    told: list[tuple[int, str]] = []
    links = Links(lambda port, message, fds: told.append((port, message["op"])))
    for port in (1, 2, 3):
        links.port_up(port)
    links.request(1, 3)
    links.request(1, 2)
    link = links.links[1, 2]
    links.made(1, link.ident, os.memfd_create("one"), 4096)
    last = os.memfd_create("other")
    with no_more_descriptors():
        links.made(2, link.ident, last, 4096)
    assert list(links.links) == [(1, 3)]
    assert told[-2:] == [(1, "drop"), (2, "drop")]
    links.port_down(1)
