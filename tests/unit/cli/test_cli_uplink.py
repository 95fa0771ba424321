"""vnicctl uplink set and clear against a hosting daemon that pretends: what is sent, and what is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost, uplink
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main
from vnicd.errors import Busy, NotFound
from vnicd.spec.uplink import DEFAULT_SUBNETS, make_uplink

Captured = pytest.CaptureFixture[str]

PLAIN = {
    "nic": "eth1",
    "mode": "bridge",
    "subnets": [],
    "publish": [],
    "propagate_link": False,
    "addresses": [],
}


def test_set_needs_no_more_than_a_nic(host: FakeHost, capsys: Captured) -> None:
    assert main(["uplink", "set", "eth1"]) == 0
    assert host.requests == [("uplink.show", {}), ("uplink.set", PLAIN)]
    captured = capsys.readouterr()
    assert captured.out == "uplink: eth1 (bridge), MTU 1500, 10 Gbit/s, machine's side vnicd0\n"
    assert captured.err == ""


@pytest.mark.parametrize(
    ("mode", "again"), [("nat", "; again with: vnicctl publish add 9000:web:90"), ("shared", "")]
)
def test_ports_that_are_no_longer_published_are_named(
    host: FakeHost, capsys: Captured, mode: str, again: str
) -> None:
    host.answers["uplink.show"] = {"uplink": uplink(mode="nat", publish=["8080:web:80", "9000:web:90"])}
    host.answers["uplink.set"] = {"uplink": uplink(mode=mode, publish=["8080:web:80"])}
    assert main(["uplink", "set", "eth1", "--mode", mode]) == 0
    assert capsys.readouterr().err == f"warning: no longer published: 9000:web:90{again}\n"


def test_set_sends_checked_words(host: FakeHost) -> None:
    subnets = ["--subnet", "FD00:9::/64", "--subnet", "10.9.0.0/24"]
    publish = ["--publish", "8080:web:80/tcp", "--publish", "[2001:DB8::1]:53:dns:53/udp"]
    options = ["--mode", "nat", *subnets, *publish, "--propagate-link"]
    assert main(["uplink", "set", "eth1", *options]) == 0
    method, params = host.requests[-1]
    assert method == "uplink.set"
    assert params == {
        "nic": "eth1",
        "mode": "nat",
        "subnets": ["10.9.0.1/24", "fd00:9::1/64"],
        "publish": ["8080:web:80", "[2001:db8::1]:53:dns:53/udp"],
        "propagate_link": True,
        "addresses": [],
    }
    assert make_uplink(**params).to_json() == params


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"speed_mbit": None}, "eth1 (bridge), MTU 1500, machine's side vnicd0"),
        ({"speed_mbit": 2500, "mtu": 9000}, "eth1 (bridge), MTU 9000, 2.5 Gbit/s, machine's side vnicd0"),
        (
            {"state": "no-carrier", "speed_mbit": None},
            "eth1 (bridge), no-carrier, MTU 1500, machine's side vnicd0",
        ),
        (
            {"mode": "nat", "speed_mbit": 100, "subnets": list(DEFAULT_SUBNETS)},
            "eth1 (nat), MTU 1500, 100 Mbit/s, machine's side vnicd0, gateway 10.78.0.1/24, gateway fd78::1/64",
        ),
    ],
)
def test_set_tells_what_came_of_it(
    host: FakeHost, capsys: Captured, facts: dict[str, Any], line: str
) -> None:
    host.answers["uplink.set"] = {"uplink": uplink(**facts)}
    assert main(["uplink", "set", "eth1"]) == 0
    assert capsys.readouterr().out == f"uplink: {line}\n"


def test_set_warns_of_the_default_route(host: FakeHost, capsys: Captured) -> None:
    host.answers["uplink.set"] = {"uplink": uplink(default_route=True)}
    assert main(["uplink", "set", "eth1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == captured.err.count("\n") == 1
    assert captured.err.startswith("warning: eth1 carries this machine's default route")


def test_set_warns_of_partitions_without_an_address(host: FakeHost, capsys: Captured) -> None:
    lacking = {"web": ["10.78.0.5/24", "fd78::5/64"], "db": []}
    nat = uplink(mode="nat", subnets=list(DEFAULT_SUBNETS), without_address=lacking)
    host.answers["uplink.set"] = {"uplink": nat}
    assert main(["uplink", "set", "eth1", "--mode", "nat"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        "warning: partition web has no address of 10.78.0.0/24 or fd78::/64, and so no way out: vnicctl partition set "
        "web --address 10.78.0.5/24 --address fd78::5/64 --gateway 10.78.0.1 --gateway fd78::1"
    )
    assert "partition db has no address" in second


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["lo"], "loopback"),
        (["much-too-long-a-name"], "not an interface name"),
        (["eth1", "--mode", "bridged"], "the mode must be bridge, shared, nat or none, not bridged"),
        (["eth1", "--subnet", "10.9.0.0/24"], "add: --mode nat"),
        (["eth1", "--mode", "shared", "--publish", "8080:web:80"], "add: --mode nat"),
        (["eth1", "--mode", "nat", "--subnet", "10.9.0.0"], "10.78.0.0/24"),
        (["eth1", "--mode", "nat", "--publish", "web:80"], "8080:web:80"),
    ],
)
def test_bad_words_are_refused_without_asking_the_host(
    host: FakeHost, error_line: ErrorLine, argv: list[str], reason: str
) -> None:
    assert main(["uplink", "set", *argv]) == 7
    assert reason in error_line()
    assert host.requests == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotFound("there is no eth9", "see: ip link"), 5), (Busy("the fabric of pid 7 has eth9"), 15)],
)
def test_set_refused_by_the_host(
    host: FakeHost, error_line: ErrorLine, error: NotFound | Busy, code: int
) -> None:
    host.answers["uplink.set"] = error
    assert main(["uplink", "set", "eth9"]) == code
    assert error_line() == error.line()


@pytest.mark.parametrize("argv", [["set", "eth1"], ["show"], ["clear"]])
@pytest.mark.usefixtures("runtime")
def test_not_running(error_line: ErrorLine, argv: list[str]) -> None:
    assert main(["uplink", *argv]) == 3
    error_line()


def test_none_is_the_machine_itself(host: FakeHost, capsys: Captured) -> None:
    addresses = ["10.77.0.254/24", "fd77::fe/64"]
    nothing = {"nic": "", "mac": None, "mtu": None, "speed_mbit": None, "offloads": {}, "carrier": False}
    host.answers["uplink.set"] = {"uplink": uplink(mode="none", addresses=addresses, **nothing)}
    assert main(["uplink", "none", "--address", "10.77.0.254/24", "--address", "FD77::FE/64"]) == 0
    assert host.requests[-1] == ("uplink.set", {**PLAIN, "nic": "", "mode": "none", "addresses": addresses})
    out = capsys.readouterr().out
    assert out == "uplink: none, machine's side vnicd0, address 10.77.0.254/24, address fd77::fe/64\n"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["none"], "--address"),
        (["none", "--address", "10.77.0.0/24"], "10.77.0.0/24"),
        (["set", "eth1", "--mode", "none"], "vnicctl uplink none --address"),
    ],
)
def test_bad_words_for_none(host: FakeHost, error_line: ErrorLine, argv: list[str], reason: str) -> None:
    assert main(["uplink", *argv]) != 0
    assert reason in error_line()
    assert host.requests == []


@pytest.mark.parametrize("word", ["clear", "unset", "del"])
def test_clear_and_its_aliases(host: FakeHost, capsys: Captured, word: str) -> None:
    assert main(["uplink", word]) == 0
    assert host.requests == [("uplink.clear", {})]
    assert capsys.readouterr().out == ""


def test_clear_of_nothing(host: FakeHost, error_line: ErrorLine) -> None:
    host.answers["uplink.clear"] = NotFound("no uplink is set")
    assert main(["uplink", "clear"]) == 5
    assert error_line() == "no uplink is set"
