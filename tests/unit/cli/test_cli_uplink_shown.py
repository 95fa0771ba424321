"""The uplink as vnicctl shows it: show, status, help."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from tests.framework.control.fakehost import FakeHost, uplink
from vnicd.cli import output
from vnicd.cli.main import main
from vnicd.spec.uplink import DEFAULT_SUBNETS, make_uplink

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
        to the NIC      1,234,587 frames, 1.7GiB
        from the NIC    20 frames, 29.3KiB
        drops           no_destination 3
        """
    )


def test_show_of_nat(host: FakeHost, capsys: Captured) -> None:
    more = {"subnets": ["10.9.0.1/24"], "publish": ["8080:web:80", "53:dns:53/udp"], "propagate_link": True}
    host.answers["uplink.show"] = {"uplink": uplink(mode="nat", default_route=True, **more)}
    assert main(["uplink", "show"]) == 0
    out = capsys.readouterr().out
    assert (
        "gateway           10.9.0.1/24\npublish           8080:web:80\npublish           53:dns:53/udp\n"
        in out
    )
    assert "propagate link    yes\n" in out
    assert "default route     yes" in out


def test_show_without_a_nic(host: FakeHost, capsys: Captured) -> None:
    nothing = {"nic": "", "mac": None, "mtu": None, "speed_mbit": None, "offloads": {}, "carrier": False}
    host.answers["uplink.show"] = {"uplink": uplink(mode="none", addresses=["10.77.0.254/24"], **nothing)}
    assert main(["uplink", "show"]) == 0
    assert capsys.readouterr().out == dedent(
        """\
        mode              none
        state             up
        machine's side    vnicd0
        address           10.77.0.254/24
        to the machine    1,234,587 frames, 1.7GiB
        from the machine  20 frames, 29.3KiB
        drops             no_destination 3
        """
    )


def test_show_fits_80_columns(host: FakeHost, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a terminal, with all that there may be to tell; nothing is cut."""
    monkeypatch.setattr(output, "terminal_width", lambda: 80)
    reason = "the kernel refuses packet sockets on eth1: Operation not permitted; see: vnicctl doctor"
    busy = uplink(
        mode="nat",
        state="failed",
        reason=reason,
        default_route=True,
        offloads=dict.fromkeys(("tx-checksum", "tso4", "tso6", "uso", "rx-checksum", "gro"), False),
        subnets=list(DEFAULT_SUBNETS),
        publish=["[2001:db8:1111:2222:3333:4444:5555:6666]:53000:a-partition-with-a-long-name:53000/udp"],
        repairs=12345,
        last_repair="route to 10.78.0.0/24, route to fd78::/64, address 10.78.0.1/24, address fd78::1/64 and 4 more",
        in_the_way=["chain filter_FORWARD_of_somebody of table inet firewalld: rejects all that is left"],
        drops=dict.fromkeys(("bad_frame", "too_big", "over_rate", "bad_address", "uplink_down"), 1234567),
    )
    host.answers["uplink.show"] = {"uplink": busy}
    assert main(["uplink", "show"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    shown = "".join(out.split())
    for text in (reason, busy["last_repair"], busy["in_the_way"][0]):
        assert "".join(text.split()) in shown


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
    uplink = {"nic": "eth1", "mode": "nat", "state": "up", "drops": {"over_rate": 1000, "bad_address": 2}}
    status["fabric"]["uplink"] = uplink
    assert main(["status"]) == 0
    assert "\nuplink    eth1 (nat), up, dropped 1,002 frames: vnicctl stats host\n" in capsys.readouterr().out
    status["fabric"]["uplink"] = {"nic": "eth1", "mode": "shared", "state": "no-carrier"}
    status["ports"][0] |= {"ifname": "vnicd0", "mac": "02:00:00:00:00:e1", "mtu": 1500}
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "\nuplink    eth1 (shared), no-carrier\n" in out
    assert ["0", "host", "up", "3999", "vnicd0", "02:00:00:00:00:e1", "1500", "-", "-", "-"] in [
        line.split() for line in out.splitlines()
    ]


def test_help_tells_modes_aliases_and_the_subnets_of_nat(capsys: Captured) -> None:
    assert main(["uplink", "--help"]) == 0
    assert "clear, unset, rm, del" in capsys.readouterr().out
    assert main(["uplink", "set", "--help"]) == 0
    out = capsys.readouterr().out
    assert "vnicctl uplink set eth1 --mode shared\n" in out
    for gateway in make_uplink("eth1", "nat").gateways:
        assert str(gateway.network) in out
