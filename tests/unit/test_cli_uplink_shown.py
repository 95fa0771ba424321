"""The uplink as vnicctl shows it - show, status, doctor, help - and what the shell completes for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.support.fakehost import FakeHost, uplink
from vnicd.cli.main import main
from vnicd.spec.uplink import make_uplink

VNICCTL = [sys.executable, "-m", "vnicd.cli.main"]

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("word", ["show", "ls"])
def test_show(host: FakeHost, capsys: Captured, word: str) -> None:
    assert main(["uplink", word]) == 0
    assert host.requests == [("uplink.show", {})]
    assert capsys.readouterr().out == dedent(
        """\
        nic             eth1
        mode            bridge
        state           up
        backend         packet
        mac             02:00:00:00:00:e1
        mtu             1500
        speed           10 Gbit/s
        offloads        tx-checksum, tso4, tso6, rx-checksum, gro (off: uso)
        default route   no
        machine's side  vnicd0
        propagate link  no
        sent            1,234,587 frames, 1.7GiB
        received        20 frames, 29.3KiB
        drops           no_destination 3
        """
    )


def test_show_of_nat(host: FakeHost, capsys: Captured) -> None:
    more = {"subnets": ["10.9.0.1/24"], "publish": ["8080:web:80", "53:dns:53/udp"], "propagate_link": True}
    host.answers["uplink.show"] = {"uplink": uplink(mode="nat", default_route=True, **more)}
    assert main(["uplink", "show"]) == 0
    out = capsys.readouterr().out
    assert "gateway         10.9.0.1/24\npublish         8080:web:80\npublish         53:dns:53/udp\n" in out
    assert "propagate link  yes\n" in out
    assert "default route   yes" in out


def test_show_of_a_nic_that_is_gone(host: FakeHost, capsys: Captured) -> None:
    nothing = {"mac": None, "mtu": None, "speed_mbit": None, "carrier": False, "ifname": "", "drops": {}}
    gone = uplink(state="absent", reason="there is no eth1", offloads={}, **nothing)
    host.answers["uplink.show"] = {"uplink": gone}
    assert main(["uplink", "show"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["state", "absent: there is no eth1"] in lines
    assert lines[4:8] == [["mac", "-"], ["mtu", "-"], ["speed", "-"], ["offloads", "-"]]


def test_show_of_a_nic_without_offloads(host: FakeHost, capsys: Captured) -> None:
    host.answers["uplink.show"] = {"uplink": uplink(offloads={"tx-checksum": False, "tso4": False})}
    assert main(["uplink", "show"]) == 0
    assert "\noffloads        (off: tx-checksum, tso4)\n" in capsys.readouterr().out


def test_no_uplink_is_no_error(host: FakeHost, capsys: Captured) -> None:
    host.answers["uplink.show"] = {"uplink": None}
    assert main(["uplink", "show"]) == 0
    assert capsys.readouterr().out == "no uplink is set\n"
    assert main(["uplink", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"uplink": None}


def test_json_is_the_hosts_answer(host: FakeHost, capsys: Captured) -> None:
    assert main(["uplink", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"uplink": uplink()}


def test_status_has_a_line_for_it_and_port_0_an_interface(host: FakeHost, capsys: Captured) -> None:
    status = host.answers["status"]
    assert isinstance(status, dict)
    status["fabric"]["uplink"] = None
    assert main(["status"]) == 0
    assert "uplink" not in capsys.readouterr().out
    status["fabric"]["uplink"] = {"nic": "eth1", "mode": "shared", "state": "no-carrier"}
    status["ports"][0] |= {"ifname": "vnicd0", "mac": "02:00:00:00:00:e1", "mtu": 1500}
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "\nuplink    eth1 (shared), no-carrier\n" in out
    assert ["0", "host", "up", "3999", "vnicd0", "02:00:00:00:00:e1", "1500", "-", "-", "-"] in [
        line.split() for line in out.splitlines()
    ]


@pytest.mark.parametrize(
    ("facts", "status", "remedy"),
    [
        ({}, "ok", ""),
        ({"default_route": True}, "warn", "vnicctl uplink clear"),
        ({"state": "no-carrier"}, "warn", "cable of eth1"),
        ({"state": "down", "reason": "eth1 is down"}, "warn", "ip link set eth1 up"),
        ({"state": "absent"}, "warn", "vnicctl uplink clear"),
        ({"state": "failed", "reason": "nft is missing for eth1"}, "warn", "host.log"),
    ],
)
def test_doctor_looks_at_it(
    fabric_dir: Path, capsys: Captured, facts: dict[str, Any], status: str, remedy: str
) -> None:
    fabric_dir.mkdir()
    host = FakeHost(fabric_dir / "control.sock")
    host.answers["uplink.show"] = {"uplink": uplink(**facts)}
    assert main(["doctor", "--json"]) == 0
    check = json.loads(capsys.readouterr().out)["checks"][-1]
    assert (check["name"], check["status"], bool(check["remedy"])) == ("uplink", status, bool(remedy))
    assert "eth1" in check["detail"]
    assert remedy in (check["remedy"] or "")
    host.answers["uplink.show"] = {"uplink": None}
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checks"][-1]["name"] != "uplink"
    host.close()


def test_help_tells_modes_aliases_and_the_subnets_of_nat(capsys: Captured) -> None:
    assert main(["uplink", "--help"]) == 0
    assert "clear, unset, del" in capsys.readouterr().out
    assert main(["uplink", "set", "--help"]) == 0
    out = capsys.readouterr().out
    assert "vnicctl uplink set eth1 --mode shared\n" in out
    for gateway in make_uplink("eth1", "nat").gateways:
        assert str(gateway.network) in out


def complete(words: str, last: str = "", prefix: tuple[str, ...] = ()) -> list[str]:
    """What fish offers for the word that begins with `last`; bash would cut it at a colon."""
    line = {"COMP_WORDS": f"vnicctl {words} {last}", "COMP_CWORD": last, "_VNICCTL_COMPLETE": "fish_complete"}
    command = [*prefix, *VNICCTL]
    done = subprocess.run(command, env={**os.environ, **line}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [text.partition(",")[2] for text in done.stdout.split()]


def test_completion_of_modes() -> None:
    assert complete("uplink set eth1 --mode") == ["bridge", "shared", "nat"]
    assert complete("uplink set eth1 --mode", "s") == ["shared"]


def test_completion_of_partitions_to_publish(host: FakeHost) -> None:
    assert complete("uplink set eth1 --publish", "8080:") == ["8080:blue:", "8080:green:", "8080:red:"]
    assert complete("uplink set eth1 --publish", "192.0.2.1:8080:gr") == ["192.0.2.1:8080:green:"]
    assert complete("uplink set eth1 --publish", "80") == []
    assert complete("uplink set eth1 --publish", "8080:blue:") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces")
def test_completion_of_nics_is_of_the_namespace_that_one_is_in() -> None:
    script = 'ip link add cable0 type veth peer name vnicd0 && exec "$@"'
    inside = ("unshare", "--net", "sh", "-c", script, "sh")
    names = complete("uplink set", prefix=inside)
    assert "cable0" in names
    assert not {"lo", "vnicd0"} & set(names)
    assert complete("uplink set", "cab", prefix=inside) == ["cable0"]
