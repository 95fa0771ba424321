"""Fixtures of the unit tests: those that component tests have too, and packet sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.framework.datapath.packets import Pair
from tests.framework.descriptors import open_fds
from tests.framework.fixtures import claim, error_line, host, ledger, limit, listener, runtime

__all__ = ["claim", "error_line", "host", "ledger", "limit", "listener", "runtime"]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected packet sockets; the test fails when a descriptor is left open."""
    before = open_fds()
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.settimeout(10)
    yield ends
    for end in ends:
        end.close()
    assert open_fds(collect=False) <= before, "a descriptor leaked"
