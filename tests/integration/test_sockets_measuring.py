"""Direct sockets: iperf3 and sockperf, unmodified, with the provider at both ends, at one and at neither."""

from __future__ import annotations

import json

import pytest

from tests.bench.parsing import sockperf_percentiles
from tests.support.direct import Ends

IPERF_PORT, SOCKPERF_PORT = 5201, 11111

ENOUGH = 50 << 20
"""Bytes in a second that show that traffic flowed; the benchmark measures, this does not."""


@pytest.mark.parametrize("options", [(), ("-R",), ("-P", "4"), ("-P", "4", "-R"), ("--bidir",), ("-Z",)])
def test_iperf3(ends: Ends, options: tuple[str, ...]) -> None:
    serve = ["iperf3", "-s", "-p", str(IPERF_PORT)]
    ask = ["iperf3", "-J", "-c", ends.server.ip, "-p", str(IPERF_PORT), "-t", "1", *options]
    with ends.server.serving(serve, IPERF_PORT), ends.watch():
        end = json.loads(ends.client.run(ask).stdout)["end"]
    assert end["sum_received"]["bytes"] > ENOUGH
    if "--bidir" in options:
        assert end["sum_received_bidir_reverse"]["bytes"] > ENOUGH


def test_iperf3_serves_one_after_the_other(ends: Ends) -> None:
    """A server whose clients come and go, with small writes and large ones."""
    serve = ["iperf3", "-s", "-p", str(IPERF_PORT)]
    with ends.server.serving(serve, IPERF_PORT), ends.watch():
        for size in ("100", "128K", "1M"):
            ask = ["iperf3", "-J", "-c", ends.server.ip, "-p", str(IPERF_PORT), "-n", "20M", "-l", size]
            end = json.loads(ends.client.run(ask).stdout)["end"]
            assert end["sum_received"]["bytes"] > 10 << 20  # it counts what came before the end


@pytest.mark.parametrize("size", [14, 1400, 60000])
def test_sockperf(ends: Ends, size: int) -> None:
    where = ["--tcp", "-i", ends.server.ip, "-p", str(SOCKPERF_PORT)]
    with ends.server.serving(["sockperf", "server", *where], SOCKPERF_PORT), ends.watch():
        ask = [
            "sockperf",
            "ping-pong",
            *where,
            "-t",
            "1",
            "-m",
            str(size),
            "--data-integrity",
            "--mps=500000",
        ]
        said = ends.client.run(ask).stdout
    assert sockperf_percentiles(said, [50.0])[50.0] > 0
    assert "data integrity test failed" not in said.lower()
