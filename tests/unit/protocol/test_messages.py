"""Messages with descriptors over a real SEQPACKET pair: whole ones arrive, all else is refused, nothing leaks."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tests.framework.datapath.packets import DEEP, GARBAGE, Pair, number_in, numbered
from tests.framework.descriptors import no_more_descriptors, open_fds
from vnicd.host.links.manager import Links
from vnicd.host.links.relay import HostRelay
from vnicd.native import memory
from vnicd.protocol import registration
from vnicd.protocol.registration import MAX_FDS, MAX_MESSAGE, DescriptorsLost, Message


def test_a_message_with_descriptors_arrives(pair: Pair) -> None:
    fds = [numbered(n) for n in range(MAX_FDS)]
    registration.send(pair[0], {"op": "welcome", "port": 7}, fds)
    registration.close_all(fds)
    got = registration.receive(pair[1])
    assert got is not None
    message, received = got
    assert message == {"op": "welcome", "port": 7}
    assert [number_in(fd) for fd in received] == list(range(MAX_FDS))


def test_received_descriptors_are_not_for_children(pair: Pair) -> None:
    """socket.recv_fds of Python 3.11 takes flags such as MSG_CMSG_CLOEXEC, and does not use them."""
    registration.send(pair[0], {"op": "a"}, [0])
    got = registration.receive(pair[1])
    assert got is not None
    inheritable = [os.get_inheritable(fd) for fd in got[1]]
    registration.close_all(got[1])
    assert inheritable == [False]


@pytest.mark.parametrize("data", [*GARBAGE, b'{"op": "' + b"x" * MAX_MESSAGE + b'"}'])
def test_what_is_no_message_is_a_value_error_and_its_descriptors_are_closed(pair: Pair, data: bytes) -> None:
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    socket.send_fds(pair[0], [data], [0, 1])
    with pytest.raises(ValueError):
        registration.receive(pair[1])


def test_a_message_nested_too_deep_is_a_value_error_and_its_descriptors_are_closed(pair: Pair) -> None:
    """Otherwise a hostile partition daemon makes the host lose four descriptors with each message."""
    socket.send_fds(pair[0], [DEEP], [0, 1])
    with pytest.raises(ValueError):
        registration.receive(pair[1])


def test_descriptors_that_find_no_place_are_told_with_their_message(pair: Pair) -> None:
    """The connection goes on: what there is must not end because something new came."""
    registration.send(pair[0], {"op": "attach", "peer": 3}, [0, 1])
    registration.send(pair[0], {"op": "next"})
    with no_more_descriptors(left=1), pytest.raises(DescriptorsLost) as lost:
        registration.receive(pair[1])
    assert lost.value.message == {"op": "attach", "peer": 3}
    assert registration.receive(pair[1]) == ({"op": "next"}, [])


def test_as_many_descriptors_as_can_be_sent_are_the_callers(pair: Pair) -> None:
    """None is left for the kernel to close in our thread."""
    registration.send(pair[0], {"op": "a"}, [0] * MAX_FDS)
    with pytest.raises(OSError):
        registration.send(pair[0], {"op": "a"}, [0] * (MAX_FDS + 1))
    got = registration.receive(pair[1])
    assert got is not None and len(got[1]) == MAX_FDS
    registration.close_all(got[1])


def test_descriptors_of_what_is_no_message_are_discarded(pair: Pair) -> None:
    discarded: list[int] = []
    socket.send_fds(pair[0], [b"no message"], [0, 0])
    with pytest.raises(ValueError):
        registration.receive(pair[1], discarded.extend)
    assert len(discarded) == 2
    registration.close_all(discarded)


def test_the_end_of_a_connection(pair: Pair) -> None:
    registration.send(pair[0], {"op": "last"})
    pair[0].close()
    assert registration.receive(pair[1]) == ({"op": "last"}, [])
    assert registration.receive(pair[1]) is None


BAD_REPORTS: list[Message] = [
    {"op": "made"},
    {"op": "made", "link_id": 1},
    {"op": "made", "link_id": "x"},
    {"op": "attached", "link_id": 1},
    {"op": "closed", "link_id": []},
    {"op": "closed", "link_id": float("inf")},
    {"op": "want", "ports": 7},
    {"op": "idle", "links": [[1]]},
    {"op": "gone", "peer": 1},
]


@pytest.mark.parametrize("report", BAD_REPORTS, ids=str)
def test_a_report_that_is_not_well_formed_is_refused_and_loses_no_descriptor(report: Message) -> None:
    """The registrar closes the connection after one of these errors, and what is then left in `fds`."""
    before = open_fds()
    relay: Any = SimpleNamespace(links=Links(lambda *order: None), _gone=lambda *report: None)
    fds = [os.open("/dev/null", os.O_RDONLY)]
    try:
        with pytest.raises((KeyError, TypeError, ValueError, OverflowError, OSError)):
            HostRelay.take(relay, 1, report, fds)
    finally:
        registration.close_all(fds)
    assert open_fds() == before


def test_a_report_of_our_own_that_fails_loses_no_descriptor() -> None:
    """As when there are none left for a doorbell."""

    def take(number: int, message: Message, fds: list[int]) -> None:
        raise OSError

    before = open_fds()
    relay: Any = SimpleNamespace(take=take, links=SimpleNamespace(by_id={}))
    with pytest.raises(OSError):
        HostRelay._own_reply(relay, {"op": "made", "link_id": 1}, [0])
    assert open_fds() == before


def test_the_size_of_pages_is_what_the_kernel_says() -> None:
    """And not what a daemon writes, which would be shown by vnicctl."""
    links = Links(lambda *order: None)
    for port in (1, 2):
        links.port_up(port)
    links.request(1, 2)
    (link,) = links.links.values()
    relay: Any = SimpleNamespace(links=links)
    region = memory.create_link(1, 2, link.ident, False)
    HostRelay.take(relay, 1, {"op": "made", "link_id": link.ident, "page_size": 10**400}, [os.dup(region.fd)])
    assert link.page_sizes == {1: memory.SMALL_PAGE}
    links.port_down(1)
    region.close()
