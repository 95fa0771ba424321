"""vnicctl network against hosting daemons that pretend, and files of networks that have none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.control.fakehost import FakeHost, uplink
from tests.framework.fixtures import ErrorLine
from vnicd.cli.main import main
from vnicd.errors import NotPermitted
from vnicd.spec.fabric_file import render
from vnicd.spec.network import make_network

Captured = pytest.CaptureFixture[str]

FAST = make_network("fast", "nat", "eth1", ["10.88.0.0/24", "fd88::/64"], labels=["app=shop"])


def declare(runtime: Path, spec: object = FAST, name: str = "fast") -> Path:
    folder = runtime / "networks" / name
    folder.mkdir(parents=True)
    (folder / "network.toml").write_text(render(FAST.declared()) if spec is FAST else str(spec))
    return folder


@pytest.fixture
def fast(runtime: Path) -> Iterator[FakeHost]:
    fake = FakeHost(declare(runtime) / "control.sock")
    yield fake
    fake.close()


def test_networks_are_listed_in_80_columns(
    host: FakeHost, fast: FakeHost, runtime: Path, capsys: Captured
) -> None:
    host.answers["config.export"] = {"declared": {"subnets": ["10.5.0.0/24"]}}
    host.answers["uplink.show"] = {"uplink": None}
    fast.answers["partition.list"] = {"partitions": []}
    declare(runtime, "mode = nat", "wrong")
    assert main(["network", "ls"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "NAME     STATE  UPLINK       PARTITIONS  SUBNETS",
        "default  up     internal              3  10.5.0.0/24",
        "fast     up     nat by eth1           0  10.88.0.0/24, fd88::/64",
        "wrong    down   -                     -  -",
    ]


def test_a_network_is_shown_without_its_daemon(runtime: Path, capsys: Captured) -> None:
    folder = declare(runtime)
    assert main(["network", "inspect", "fast", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        **FAST.to_json(),
        **{"state": "down", "reason": "", "pid": None, "version": None, "partitions": None},
        "runtime_dir": str(folder),
    }


def test_the_default_one_is_what_its_daemon_tells(host: FakeHost, capsys: Captured) -> None:
    host.answers["config.export"] = {"declared": {}}
    host.answers["uplink.show"] = {"uplink": uplink(mode="nat", subnets=["10.78.0.1/24"])}
    assert main(["network", "show", "default", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["uplink"], shown["nic"]) == ("nat", "eth1")
    assert (shown["subnets"], shown["gateways"]) == (["10.78.0.0/24"], ["10.78.0.1"])


def test_who_may_not_ask_is_told_so_for_each(fast: FakeHost, capsys: Captured) -> None:
    fast.answers["fabric.ping"] = NotPermitted("not allowed to use it")
    assert main(["network", "list", "--format", "{name} {state} {reason}"]) == 0
    assert "fast unknown not allowed to use it" in capsys.readouterr().out


def test_requests_go_to_the_network_that_is_named(
    host: FakeHost, fast: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--network", "fast", "links"]) == 0
    assert main(["--network", "default", "links"]) == 0
    assert main(["--network", "fast", "--network=fast", "links"]) == 0
    monkeypatch.setenv("VNICD_NETWORK", "fast")
    monkeypatch.setenv("VNICD_RUNTIME_DIR", str(host.path.parent))
    assert main(["links"]) == 0
    assert "VNICD_NETWORK" not in os.environ, (
        "daemons that vnicctl starts are told by VNICD_RUNTIME_DIR alone"
    )
    assert [method for method, _ in fast.requests] == ["links"] * 3
    assert [method for method, _ in host.requests] == ["links"]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--network", "fats", "status"], 5, "there is no network fats; did you mean fast?"),
        (["network", "show", "x"], 5, "there is no network x; list them with: vnicctl network list"),
        (
            ["network", "add", "default"],
            7,
            "the network default is there always; it is what vnicctl works on",
        ),
        (["network", "add", "a", "--uplink", "bridge"], 7, "a bridge needs a NIC; name one: --nic eth1"),
    ],
)
def test_errors(runtime: Path, error_line: ErrorLine, words: list[str], code: int, line: str) -> None:
    declare(runtime)
    assert main(words) == code
    assert error_line().startswith(line)


def test_a_network_with_partitions_stays(
    fast: FakeHost, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main(["network", "rm", "fast"]) == 15
    assert error_line().startswith("the network fast has the partitions blue, green, red; remove them first")
    assert (fast.path.parent / "network.toml").exists()
    assert {method for method, _ in fast.requests} == {"partition.list"}
