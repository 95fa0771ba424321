"""vnicctl's reading commands against a hosting daemon that pretends: tables and JSON."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

import pytest

from tests.framework.control.fakehost import ANSWERS, FakeHost, link, partition, way
from vnicd.cli.main import main


@pytest.mark.parametrize(
    ("argv", "method", "params"),
    [
        (["status"], "status", {}),
        (["links"], "links", {}),
        (["debug", "link", "blue", "green"], "debug.link", {"from": "blue", "to": "green"}),
        (["stats"], "stats", {}),
        (["stats", "blue"], "stats", {"name": "blue"}),
        (["partition", "list"], "partition.list", {}),
        (["partition", "ls"], "partition.list", {}),
        (["partition", "show", "blue"], "partition.show", {"name": "blue"}),
    ],
)
def test_json_is_the_hosts_answer(
    host: FakeHost, capsys: pytest.CaptureFixture[str], argv: list[str], method: str, params: dict[str, Any]
) -> None:
    assert main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == ANSWERS[method]
    assert captured.err == ""
    assert host.requests == [(method, params)]


def test_status(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out == dedent(
        """\
        fabric    /run/vnicd
        daemon    pid 3999, version 0.1.0, up 3h 12m
        memory    4KiB pages (hugepages auto)
        names     at 127.0.0.77 in each partition; others not forwarded
        degraded  no hugepages are left

        PORT  NAME   STATE      PID  INTERFACE  MAC                 MTU  PAGES  NAMESPACE        ADDRESSES
           0  host   up        3999  -          -                     -      -  -                -
           1  blue   up        4001  vnic0      02:00:00:00:00:01  1500   2MiB  blue             \
10.77.0.1/24, fd00:77::1/64
           2  green  starting     -  vnic0      02:00:00:00:00:02  1500   2MiB  green            -
           3  red    failed       -  vnic0      02:00:00:00:00:03  1500   2MiB  /proc/77/ns/net  \
10.77.0.3/24, fd00:77::3/64
        """
    )


def test_links_hides_what_says_nothing(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["links"]) == 0
    assert capsys.readouterr().out == dedent(
        """\
        FROM   TO     PATH    STATE  PAGES     FRAMES    BYTES  WAKEUPS  DROPS
        host   blue   direct  up      2MiB          0       0B        0  -
        blue   host   direct  up      2MiB          0       0B        0  -
        blue   green  direct  up      2MiB  1,234,567   1.7GiB  123,456  ring_full 3
        green  blue   direct  up      2MiB          0       0B        0  -
        blue   red    relay   -          -          7  10.3KiB        0  -
        red    blue   relay   -          -          0       0B        0  -
        """
    )
    assert main(["links", "--all"]) == 0
    assert "green  red    -       -" in capsys.readouterr().out


def test_links_shows_a_pair_that_only_drops(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    ways = [way("blue", "red", no_link=2), way("red", "blue")]
    host.answers["links"] = {"links": [link("blue", "red", ways, "none", "none")]}
    assert main(["links"]) == 0
    assert "no_link 2" in capsys.readouterr().out


def test_stats(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats"]) == 0
    assert capsys.readouterr().out == dedent(
        """\
        NAME  SENT FRAMES  SENT BYTES  RECEIVED FRAMES  RECEIVED BYTES  DROPS
        blue    1,234,587      1.7GiB               20         29.3KiB  ring_full 3, reserved_multicast 1
        """
    )


def test_stats_of_one_port_has_all_counters(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "blue"]) == 0
    out = capsys.readouterr().out
    assert "sleeps                    12\n" in out
    assert "reserved_multicast       1\n" in out
    assert "bad_source" not in out


def test_show(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["partition", "show", "blue"]) == 0
    out = capsys.readouterr().out
    assert "address    10.77.0.1/24\naddress    fd00:77::1/64\n" in out
    assert "namespace  /run/netns/blue (made by vnicd)\n" in out


def test_a_pipe_gets_whole_lines(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    addresses = [f"fd00:77:1234:5678:9abc:def0:1234:{i}/64" for i in range(16)]
    host.answers["partition.list"] = {"partitions": [partition("a" * 32, 1, addresses=addresses)]}
    assert main(["partition", "ls"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert out.endswith(", ".join(addresses) + "\n")
    assert "\x1b" not in out


def test_an_empty_fabric_has_headers(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.answers["partition.list"] = {"partitions": []}
    assert main(["partition", "ls"]) == 0
    assert " ".join(capsys.readouterr().out.split()) == "NAME STATE PID INTERFACE MAC MTU NAMESPACE ADDRESSES"


def test_markup_in_words_is_text(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.answers["partition.list"] = {"partitions": [partition("blue", 1, netns="/srv/[red]:smile:[/red]")]}
    assert main(["partition", "ls"]) == 0
    assert "/srv/[red]:smile:[/red]" in capsys.readouterr().out


@pytest.mark.usefixtures("host")
def test_the_memory_of_a_link(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["debug", "link", "blue", "green"]) == 0
    assert capsys.readouterr().out == dedent("""\
        link 00000000000000ff, up
        FROM   TO     HEAD  TAIL  UNREAD  ARMED  WANTS ROOM  CPU
        blue   green  4096    64  3.9KiB  no     yes           -
        green  blue      0     0      0B  yes    no            1

        DAEMON   PID  ROUNDS  SLEEPS  HOLDS  LINK FAULTS
        blue    4001      12       3      1            0
        green   4002       9       4      0            2
        """)
