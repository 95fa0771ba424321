"""vnicctl partition: what is sent to the host, gateways and rates as they are shown, the aliases, the help."""

from __future__ import annotations

import pytest

from tests.framework.control.fakehost import FakeHost, partition
from tests.framework.fixtures import ErrorLine
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
        "gateways": [],
        "rate": None,
        "rate_in": None,
        "owner": {},
        "handover": False,
        "routes": [],
        "aliases": [],
    }
    assert capsys.readouterr().out == "blue: vnic0 in namespace blue, 02:00:00:00:00:01, MTU 1500\n"


def test_add_sends_an_mtu_that_was_asked_for(host: FakeHost) -> None:
    assert main(["partition", "add", "blue", "--mtu", "1500"]) == 0
    assert host.requests[0][1]["mtu"] == 1500


def test_add_sends_gateways_and_a_rate(host: FakeHost) -> None:
    addresses = ["--address", "10.77.0.1/24", "--address", "fd00::1/64"]
    gateways = ["--gateway", "fd00::ff", "--gateway", "10.77.0.254"]
    assert main(["partition", "add", "blue", *addresses, *gateways, "--rate", "1.5gbit"]) == 0
    params = host.requests[0][1]
    assert params["gateways"] == ["10.77.0.254", "fd00::ff"]
    assert (params["rate"], params["rate_in"]) == (1_500_000_000, None)
    assert main(["partition", "add", "blue", "--rate-in", "20mbit"]) == 0
    assert (host.requests[1][1]["rate"], host.requests[1][1]["rate_in"]) == (None, 20_000_000)


@pytest.mark.parametrize(
    "argv",
    [["--rate", "fast"], ["--rate", "100mbps"], ["--gateway", "10.0.0.1"], ["--gateway", "10.0.0.1/24"]],
)
def test_bad_gateways_and_rates_are_refused_at_once(
    host: FakeHost, error_line: ErrorLine, argv: list[str]
) -> None:
    assert main(["partition", "add", "blue", *argv]) == 7
    assert argv[1] in error_line()
    assert host.requests == []


@pytest.mark.parametrize("option", ["--rate", "--rate-in"])
def test_a_limit_of_a_new_partition_is_one(host: FakeHost, error_line: ErrorLine, option: str) -> None:
    assert main(["partition", "add", "blue", option, "0"]) == 7
    assert "must be 100kbit to 1tbit, not 0; leave it out" in error_line()
    assert host.requests == []


def test_add_tells_addresses_that_nobody_named(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["partition", "add", "blue"]) == 0
    assert capsys.readouterr().out.endswith(", MTU 1500, 10.77.0.1/24, fd00:77::1/64\n")
    host.answers["partition.add"] = partition("blue", 1, addresses=[])
    assert main(["partition", "add", "blue"]) == 0
    assert capsys.readouterr().out.endswith(", MTU 1500\n")


def test_add_warns_of_what_is_not_as_it_should_be(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.answers["partition.add"] = partition("web", 1, warnings=["lo of web is down: vnicctl exec web"])
    assert main(["partition", "add", "web"]) == 0
    assert capsys.readouterr().err == "warning: lo of web is down: vnicctl exec web\n"


def test_show_has_gateways_and_the_rate(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.answers["partition.show"] = partition("blue", 1, gateways=["10.77.0.9", "fd00:77::9"], rate=10**8)
    assert main(["partition", "show", "blue"]) == 0
    out = capsys.readouterr().out
    assert "gateway    10.77.0.9\ngateway    fd00:77::9\nrate       100 Mbit/s each way\n" in out
    for rates, lines in (
        ((10**8, 2 * 10**7), "rate       100 Mbit/s to the uplink\nrate in    20 Mbit/s from the uplink\n"),
        ((None, 2 * 10**7), "rate       no limit to the uplink\nrate in    20 Mbit/s from the uplink\n"),
    ):
        host.answers["partition.show"] = partition("blue", 1, rate=rates[0], rate_in=rates[1])
        assert main(["partition", "show", "blue"]) == 0
        assert lines in capsys.readouterr().out
    host.answers["partition.show"] = partition("blue", 1, gateways=[], rate=None, rate_in=None)
    assert main(["partition", "show", "blue"]) == 0
    assert not {"gateway", "rate"} & set(capsys.readouterr().out.split())


def test_list_has_columns_for_what_some_partition_has(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = partition("green", 2, gateways=[], rate=None, addresses=["10.77.0.2/24"])
    limited = partition(
        "blue", 1, netns="/run/netns/web", gateways=["10.77.0.9"], rate=10**8, addresses=["10.77.0.1/24"]
    )
    host.answers["partition.list"] = {"partitions": [limited, plain]}
    assert main(["partition", "ls"]) == 0
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header[-4:] == ["NAMESPACE", "RATE", "GATEWAYS", "ADDRESSES"]
    assert rows[0][-5:] == ["web", "100", "Mbit/s", "10.77.0.9", "10.77.0.1/24"]
    assert rows[1][-4:] == ["green", "-", "-", "10.77.0.2/24"]
    limited |= {"rate": None, "rate_in": 10**7, "gateways": []}
    host.answers["partition.list"] = {"partitions": [limited, plain]}
    assert main(["partition", "ls"]) == 0
    _, row, _ = capsys.readouterr().out.splitlines()
    assert row.split()[-6:-1] == ["web", "-", "/", "10", "Mbit/s"]
    host.answers["partition.list"] = {"partitions": [plain]}
    assert main(["partition", "ls"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[-2:] == ["MTU", "ADDRESSES"]


def test_list_of_containers_is_narrow(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    owner = {"cni/container": "0123456789abcdef" * 4, "cni/interface": "eth0", "cni/name": "db"}
    theirs = partition("c1", 1, netns="/run/netns/netns-c87b76c2-08d5-cfca-a4a5-6673bc55f819", owner=owner)
    host.answers["partition.list"] = {"partitions": [theirs, partition("blue", 2)]}
    assert main(["partition", "ls"]) == 0
    header, row, _ = capsys.readouterr().out.splitlines()
    assert "OWNER" in header and "NAMESPACE" not in header
    assert "cni: db" in row and "0123456789" not in row


def test_help_names_aliases_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["partition", "--help"]) == 0
    assert "remove, rm, del" in capsys.readouterr().out
    assert main(["partition", "add", "-h"]) == 0
    assert "vnicctl partition add blue --address" in capsys.readouterr().out
