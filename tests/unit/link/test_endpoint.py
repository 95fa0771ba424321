"""An end of links that is told of links which it has not: nothing happens."""

from __future__ import annotations

import pytest

from tests.framework.descriptors import no_more_descriptors
from vnicd.link.endpoint import KEPT_FREE, Endpoint
from vnicd.native import counters
from vnicd.native.loop import Loop


@pytest.mark.parametrize("op", ["drop", "open", "close", "attach"])
@pytest.mark.parametrize("link_id", [0, 7])
def test_an_order_about_an_unknown_link(op: str, link_id: int) -> None:
    said: list[str] = []
    endpoint = Endpoint(
        1, Loop(1, counters.create()), "never", lambda message, fds: said.append(str(message["op"]))
    )
    assert endpoint.handle({"op": op, "peer": 2, "link_id": link_id}, [])
    assert said == {"close": ["closed"], "attach": ["attached"]}.get(op, [])
    assert not endpoint.made and not endpoint.opening


@pytest.mark.parametrize(
    ("peer", "left", "error"), [(2, KEPT_FREE - 1, "Too many open files"), (2, KEPT_FREE, ""), (0, 2, "")]
)
def test_a_direct_link_leaves_descriptors_for_that_to_the_host(peer: int, left: int, error: str) -> None:
    said: list[str] = []
    loop = Loop(1, counters.create())
    endpoint = Endpoint(1, loop, "never", lambda message, fds: said.append(str(message.get("error", ""))))
    with no_more_descriptors(left):
        endpoint.handle({"op": "make", "peer": peer, "link_id": 7}, [])
    assert said == [error]
    endpoint.handle({"op": "drop", "peer": peer, "link_id": 7}, [])
