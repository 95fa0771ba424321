"""vnicctl partition add and remove: what is sent to the host, the aliases, the help."""

from __future__ import annotations

import pytest

from tests.support.fakehost import FakeHost
from vnicd.cli.main import main


@pytest.mark.parametrize("alias", ["remove", "rm", "del"])
def test_remove_and_its_aliases(host: FakeHost, capsys: pytest.CaptureFixture[str], alias: str) -> None:
    assert main(["partition", alias, "blue"]) == 0
    assert host.requests == [("partition.remove", {"name": "blue"})]
    assert capsys.readouterr().out == ""


def test_add_sends_checked_words(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--address",
        "10.77.0.1/24",
        "--address",
        "FD00:0::1/64",
        "--mac",
        "02-00-00-00-00-AA",
        "--netns",
        "web",
    ]
    assert main(["partition", "add", "blue", *options]) == 0
    method, params = host.requests[0]
    assert method == "partition.add"
    assert params == {
        "name": "blue",
        "addresses": ["10.77.0.1/24", "fd00::1/64"],
        "mac": "02:00:00:00:00:aa",
        "mtu": None,
        "ifname": "vnic0",
        "netns": "/run/netns/web",
    }
    assert capsys.readouterr().out == "blue: vnic0 in namespace blue, 02:00:00:00:00:01, MTU 1500\n"


def test_add_sends_an_mtu_that_was_asked_for(host: FakeHost) -> None:
    assert main(["partition", "add", "blue", "--mtu", "1500"]) == 0
    assert host.requests[0][1]["mtu"] == 1500


def test_help_names_aliases_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["partition", "--help"]) == 0
    assert "remove, rm, del" in capsys.readouterr().out
    assert main(["partition", "add", "-h"]) == 0
    assert "vnicctl partition add blue --address" in capsys.readouterr().out
