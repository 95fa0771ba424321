"""Fixtures of direct sockets' tests: ends in two partitions, with the preload library or without it."""

from __future__ import annotations

import pytest

from tests.framework.sockets.direct import End, Ends
from tests.framework.traffic.servers import missing_programs
from tests.system.conftest import Pair

PROVIDERS = {
    "both": (True, True),
    "server": (False, True),
    "client": (True, False),
    "neither": (False, False),
}
"""Who has the preload library: the client, the server."""

SELDOM = [pytest.param(who, marks=pytest.mark.slow) for who in ("client", "neither")]


@pytest.fixture(params=["both", "server", *SELDOM])
def ends(request: pytest.FixtureRequest, pair: Pair) -> Ends:
    """A client's and a server's end in two partitions, with the preload library in each way that there is."""
    return _ends(pair, request.param)


@pytest.fixture(params=["both", pytest.param("neither", marks=pytest.mark.slow)])
def equal_ends(request: pytest.FixtureRequest, pair: Pair) -> Ends:
    """The same, with the preload library at both ends or at none."""
    return _ends(pair, request.param)


def _ends(pair: Pair, who: str) -> Ends:
    if lacking := missing_programs():
        pytest.skip(f"not installed: {', '.join(lacking)}")
    client, server = PROVIDERS[who]
    return Ends(End(pair[0], client), End(pair[1], server))
