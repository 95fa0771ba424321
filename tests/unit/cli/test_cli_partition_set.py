"""vnicctl partition set: what is sent of what was named, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.framework.control.fakehost import FakeHost, partition
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main

Captured = pytest.CaptureFixture[str]

SENT = [
    (["--rate", "100mbit"], {"rate": "100mbit"}),
    (["--rate", "0", "--rate-in", "1.5gbit"], {"rate": "0", "rate_in": "1.5gbit"}),
    (["--address", "10.0.0.1/24", "--address", "fd00::1/64"], {"addresses": ["10.0.0.1/24", "fd00::1/64"]}),
    (["--no-address", "--no-gateway"], {"addresses": [], "gateways": []}),
    (["--address", "", "--gateway="], {"addresses": [], "gateways": []}),
    (["--gateway", "10.0.0.1"], {"gateways": ["10.0.0.1"]}),
    (["--mtu", "1400"], {"mtu": 1400}),
    (["--mtu", "auto"], {"mtu": None}),
    (["--mtu", "large"], {"mtu": "large"}),
]


@pytest.mark.parametrize("command", ["set", "modify"])
@pytest.mark.parametrize(("argv", "params"), SENT)
def test_only_what_was_named_is_sent(
    host: FakeHost, command: str, argv: list[str], params: dict[str, Any]
) -> None:
    assert main(["partition", command, "blue", *argv]) == 0
    assert host.requests == [("partition.set", {"name": "blue", **params})]


def test_what_has_changed_is_told(host: FakeHost, capsys: Captured) -> None:
    before = partition("blue", 1, gateways=["10.77.0.9"], rate=None, rate_in=10**7)
    after = {**before, "addresses": ["10.77.0.5/24", "fd00:77::1/64"], "gateways": [], "mtu": 9000}
    host.answers["partition.set"] = {**after, "rate": 10**8, "rate_in": 10**8, "before": before}
    assert main(["partition", "set", "blue", "--rate", "100mbit"]) == 0
    assert capsys.readouterr().out == (
        "blue: addresses -10.77.0.1/24 +10.77.0.5/24, gateways -10.77.0.9, mtu 1500 -> 9000, "
        "rate unlimited -> 100mbit, rate_in 10mbit -> as rate\n"
    )
    host.answers["partition.set"] = {**before, "before": before}
    assert main(["partition", "set", "blue", "--mtu", "1500"]) == 0
    assert capsys.readouterr().out == "blue: nothing to change\n"


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        ([], 2, "name what is to change"),
        (["--address", "10.0.0.1/24", "--no-address"], 2, "--address and --no-address are given together"),
        (
            ["--mac", "02:00:00:00:00:01"],
            7,
            "the MAC of a partition that runs can't be changed; make it anew: vnicctl",
        ),
        (["--ifname", "eth0"], 7, "the interface name of a partition that runs"),
        (["--netns", "box"], 7, "the namespace of a partition that runs"),
        (["--name", "green", "--rate", "1gbit"], 7, "the name of a partition that runs"),
        (["--owner", "a=b"], 7, "the owner of a partition that runs"),
    ],
)
def test_what_is_not_sent(
    host: FakeHost, error_line: ErrorLine, argv: list[str], code: int, says: str
) -> None:
    assert main(["partition", "set", "blue", *argv]) == code
    assert says in error_line()
    assert host.requests == []
