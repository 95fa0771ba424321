"""Direct sockets: iperf3 and sockperf, unmodified, with the preload library at both ends, at one and at neither."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from tests.bench.loads.parsing import sockperf_percentiles
from tests.framework.sockets.direct import Ends
from tests.framework.waiting import while_unready

pytestmark = pytest.mark.tools

IPERF_PORT = 5201
SOCKPERF_PORTS = {11111: 14, 11112: 1400, 11113: 60000}
"""With the size of the messages."""

ENOUGH = 5 << 20
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
            done = while_unready(partial(ends.client.run, ask), "unable to connect to server")
            end = json.loads(done.stdout)["end"]
            assert end["sum_received"]["bytes"] > 1 << 20  # it counts what came before the end


def test_sockperf(ends: Ends) -> None:
    """Messages of all sizes side by side: sockperf waits for two seconds before it begins."""
    with ExitStack() as stack:
        for port in SOCKPERF_PORTS:
            stack.enter_context(ends.server.serving(["sockperf", "server", *where(ends, port)], port))
        watch = stack.enter_context(ends.watch())
        pool = stack.enter_context(ThreadPoolExecutor(len(SOCKPERF_PORTS)))
        for said in pool.map(lambda port: ping_pong(ends, port), SOCKPERF_PORTS):
            assert sockperf_percentiles(said, [50.0])[50.0] > 0
            assert "data integrity test failed" not in said.lower()
    assert not ends.direct or watch.most == len(SOCKPERF_PORTS)


def where(ends: Ends, port: int) -> list[str]:
    return ["--tcp", "-i", ends.server.ip, "-p", str(port)]


def ping_pong(ends: Ends, port: int) -> str:
    """What sockperf says of a second of messages and answers."""
    options = ["-t", "1", "-m", str(SOCKPERF_PORTS[port]), "--data-integrity", "--mps=500000"]
    return ends.client.run(["sockperf", "ping-pong", *where(ends, port), *options]).stdout
