"""The benchmark reads what its tools really print."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.bench.loads import parsing

SOCKPERF = """\
sockperf: \x1b[2;35m====> avg-latency=9.347 (std-dev=8.549)\x1b[0m
sockperf: ---> <MAX> observation = 1456.028
sockperf: ---> percentile 99.999 = 1213.719
sockperf: ---> percentile 99.000 =   31.176
sockperf: ---> percentile 50.000 =    8.412
sockperf: ---> <MIN> observation =    8.272
"""

PING = """\
PING 10.99.0.2 (10.99.0.2) 56(84) bytes of data.

--- 10.99.0.2 ping statistics ---
197347 packets transmitted, 197300 received, 0.02% packet loss, time 2000ms
rtt min/avg/max/mdev = 0.006/0.007/0.204/0.002 ms, ipg/ewma 0.010/0.007 ms
"""

SMAPS = """\
55d0c0a00000-55d0c0a28000 r--p 00000000 fe:00 1234                       /usr/bin/python3.11
Size:                160 kB
Pss:                  40 kB
Pss_Dirty:             0 kB
7f1e00000000-7f1e00200000 rw-s 00000000 00:0f 77                         /memfd:ring blue (deleted)
Pss:                2048 kB
7f1e00200000-7f1e00400000 rw-s 00000000 00:0f 78                         /anon_hugepage (deleted)
Pss:                1024 kB
7f1e10000000-7f1e10021000 rw-p 00000000 00:00 0
Pss:                 100 kB
7ffd0c1f5000-7ffd0c216000 rw-p 00000000 00:00 0                          [stack]
Pss:                  12 kB
"""

NET_TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:1451 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 00000000000000000000000000000000:2B67 00000000000000000000000000000000:0000 01 00000000:00000000
"""


def test_tcp_counts_what_was_received() -> None:
    end = {"sum_sent": {"bits_per_second": 9e9}, "sum_received": {"bits_per_second": 8.5e9}}
    assert parsing.iperf3_tcp(json.dumps({"end": end})) == 8.5


def test_udp_takes_loss_from_the_receiver() -> None:
    end = {
        "sum_sent": {"packets": 2000, "lost_packets": 0, "seconds": 2.0},
        "sum_received": {"packets": 1990, "lost_packets": 199, "seconds": 1.99},
    }
    found = parsing.iperf3_udp(json.dumps({"end": end}))
    assert (found.sent, found.received, found.lost) == pytest.approx((1000, 900, 0.1))


def test_udp_of_which_nothing_arrived_is_all_lost() -> None:
    end = {
        "sum_sent": {"packets": 2000, "seconds": 2.0},
        "sum_received": {"packets": 0, "lost_packets": 0, "seconds": 2.0},
    }
    assert parsing.iperf3_udp(json.dumps({"end": end})) == parsing.Datagrams(1000, 0, 1.0)


@pytest.mark.parametrize("read", [parsing.iperf3_tcp, parsing.iperf3_udp])
@pytest.mark.parametrize("text", ["", "no JSON", '{"error": "unable to connect"}', '{"end": {}}'])
def test_iperf3_that_failed_is_told(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(parsing.Unreadable):
        read(text)


def test_iperf3_own_words_are_passed_on() -> None:
    with pytest.raises(parsing.Unreadable, match="unable to connect"):
        parsing.iperf3_tcp('{"error": "unable to connect"}')


def test_sockperf_percentiles() -> None:
    assert parsing.sockperf_percentiles(SOCKPERF, (50, 99)) == {50: 8.412, 99: 31.176}


def test_sockperf_without_the_percentile() -> None:
    with pytest.raises(parsing.Unreadable):
        parsing.sockperf_percentiles("sockperf: No messages were received from the server.", (50,))


def test_ping_flood() -> None:
    found = parsing.ping_flood(PING)
    assert (found.rtt_us, found.per_second) == pytest.approx((7, 98650))


def test_ping_mean() -> None:
    assert parsing.ping_mean_us(PING) == pytest.approx(7)


@pytest.mark.parametrize("read", [parsing.ping_flood, parsing.ping_mean_us])
def test_ping_without_answers(read: Callable[[str], object]) -> None:
    with pytest.raises(parsing.Unreadable):
        read("9 packets transmitted, 0 received, 100% packet loss, time 2000ms\n")


def test_redis_benchmark_of_which_the_last_test_counts() -> None:
    head = '"test","rps","avg_latency_ms"\n'
    assert parsing.redis_per_second(f'{head}"SET","100.00","0.7"\n"GET","44444.44","0.769"\n') == 44444.44
    for text in ("", head, "Could not connect to Redis"):
        with pytest.raises(parsing.Unreadable):
            parsing.redis_per_second(text)


def test_wrk() -> None:
    assert parsing.wrk_per_second("  Thread Stats\nRequests/sec:  59123.50\nTransfer/sec: 9MB\n") == 59123.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Requests/sec:      0.00\n",
        "  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec:  9.00\n",
        "  Non-2xx or 3xx responses: 4\nRequests/sec:  9.00\n",
    ],
)
def test_wrk_with_failed_requests(text: str) -> None:
    with pytest.raises(parsing.Unreadable):
        parsing.wrk_per_second(text)


def test_pgbench() -> None:
    end = "tps = 14400.5 (without initial connection time)\n"
    good = "number of failed transactions: 0 (0.000%)\n"
    assert parsing.pgbench_per_second(good + end) == 14400.5
    for text in ("", end, good, "number of failed transactions: 1 (0.001%)\n" + end):
        with pytest.raises(parsing.Unreadable):
            parsing.pgbench_per_second(text)


def test_connections_per_second() -> None:
    assert parsing.per_second("10900.3 per second\n") == 10900.3
    with pytest.raises(parsing.Unreadable):
        parsing.per_second("")


def test_the_median_of_times() -> None:
    assert parsing.median_us("9.5 us\n1000.0 us\n7.1 us\n") == 9.5
    for text in ("", "9.5 us\nconnect: refused\n"):
        with pytest.raises(parsing.Unreadable):
            parsing.median_us(text)


def test_own_memory_leaves_out_the_rings() -> None:
    assert parsing.own_pss(SMAPS) == (40 + 100 + 12) * 1024


def test_schedstat() -> None:
    assert parsing.schedstat_ns("5071206 1200 34\n") == 5071206


def test_a_listening_port_is_seen() -> None:
    assert parsing.has_socket(NET_TCP6, 5201, parsing.TCP_LISTEN)
    assert not parsing.has_socket(NET_TCP6, 5202, parsing.TCP_LISTEN)


def test_a_connected_port_does_not_listen() -> None:
    assert parsing.has_socket(NET_TCP6, 11111)
    assert not parsing.has_socket(NET_TCP6, 11111, parsing.TCP_LISTEN)
