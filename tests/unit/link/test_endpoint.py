"""An end of links that is told of links which it has not: nothing happens."""

from __future__ import annotations

import pytest

from vnicd.link.endpoint import Endpoint
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
