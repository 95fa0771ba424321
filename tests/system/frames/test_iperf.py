"""iperf3 in the ways in which people use it."""

from __future__ import annotations

import pytest

from tests.framework.fabric.partition import Partition
from tests.framework.traffic.streams import iperf
from tests.framework.waiting import is_bearable
from tests.system.conftest import Pair

ENOUGH = 5 << 20
"""Bytes in a second that show that traffic flowed; the benchmark measures, this does not."""


@pytest.mark.parametrize("options", [(), ("-P", "8"), ("-R",), ("-P", "8", "-R"), ("-l", "100"), ("-Z",)])
def test_tcp(pair: Pair, options: tuple[str, ...]) -> None:
    end = iperf(*pair, *options)
    assert end["sum_received"]["bytes"] > (ENOUGH if "-l" not in options else ENOUGH // 10)


@pytest.mark.parametrize("options", [(), ("-P", "4")])
def test_bidirectional(pair: Pair, options: tuple[str, ...]) -> None:
    end = iperf(*pair, "--bidir", *options)
    assert end["sum_received"]["bytes"] > ENOUGH
    assert end["sum_received_bidir_reverse"]["bytes"] > ENOUGH


@pytest.mark.parametrize("options", [(), ("-R",), ("-l", "60000")])
def test_udp(pair: Pair, options: tuple[str, ...]) -> None:
    """Nothing is lost but what the receiver's socket has no room for while its program does not run."""
    before = sum(map(refused_by_sockets, pair))
    end = iperf(*pair, "-u", "-b", "50M", *options)
    assert end["sum"]["packets"] > 90
    lost = end["sum"]["lost_packets"] - (sum(map(refused_by_sockets, pair)) - before)
    assert is_bearable(max(0, lost), end["sum"]["packets"])


def refused_by_sockets(partition: Partition) -> int:
    """Datagrams for which a socket's receive buffer had no room."""
    lines = partition.run(["grep", "^Udp:", "/proc/net/snmp"]).stdout.splitlines()
    names, values = (line.split() for line in lines)
    return int(values[names.index("RcvbufErrors")])


def test_udp_beyond_what_fits(pair: Pair) -> None:
    """A flood loses datagrams and hurts nobody: the pair talks on afterwards."""
    blue, green = pair
    iperf(blue, green, "-u", "-b", "0", "-l", "64")
    assert blue.ping(green.ip, count=20).lost == 0
