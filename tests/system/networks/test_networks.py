"""Networks are added, listed, taken down, brought back and removed; partitions get addresses of their subnets."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.framework.fabric.fabric import Fabric
from tests.framework.fabric.network import Network, names
from tests.framework.waiting import wait_until


def shown(fabric: Fabric, name: str) -> dict[str, object]:
    return dict(fabric.json("network", "show", name))


def test_the_life_of_a_network(fabric: Fabric) -> None:
    """The default one does not even run at first."""
    fast = Network(fabric, "fast").begin(
        "--uplink", "internal", "--subnet", "10.88.0.0/24", "--subnet", "fd88::/64", "--gateway", "10.88.0.1",
        "--label", "app=shop",
    )  # fmt: skip
    about = shown(fabric, "fast")
    assert about["state"] == "up" and about["uplink"] == "internal" and about["labels"] == {"app": "shop"}
    assert (about["subnets"], about["gateways"]) == (["10.88.0.0/24", "fd88::/64"], ["10.88.0.1"])
    assert (about["partitions"], about["runtime_dir"]) == ([], str(fast.runtime))

    blue, green = fast.add("blue"), fast.add("green")
    assert blue.addresses == ("10.88.0.2/24", "fd88::1/64")
    assert green.addresses == ("10.88.0.3/24", "fd88::2/64")
    assert blue.info["gateways"] == ["10.88.0.1"]
    assert blue.ping(green.ip).lost == blue.ping(green.ip6).lost == 0

    refused = fabric.cli("network", "remove", "fast", check=False)
    assert refused.returncode == 15 and blue.name in refused.stderr and "--force" in refused.stderr
    for wrong, code, word in (
        (("network", "add", "fast"), 6, "exists already"),
        (("network", "add", "x", "--uplink", "internal", "--subnet", "10.88.0.0"), 7, "not a subnet"),
        (("network", "add", "x", "--uplink", "bridge", "--nic", "none-of-it"), 5, "no interface"),
        (("network", "remove", "fsat"), 5, "did you mean fast?"),
        (("--network", "fsat", "status"), 5, "did you mean fast?"),
        (("network", "remove", "default"), 7, "vnicctl down"),
    ):
        said = fabric.cli(*wrong, check=False)
        assert (said.returncode, word in said.stderr, len(said.stderr.splitlines())) == (code, True, 1), said
    assert names(fabric) == {"fast"} and sorted(path.name for path in fast.runtime.parent.iterdir()) == [
        "fast"
    ]

    fabric.up()
    assert fabric.json("status")["fabric"]["networks"] == ["fast"]
    assert fabric.cli("--network", "fast", "status").stdout.startswith("network  fast\n")
    os.kill(fast.host_pid(), signal.SIGKILL)
    wait_until(lambda: shown(fabric, "fast")["state"] == "down", 10, "the host is dead")
    (told,) = [each for each in fabric.doctor() if each["name"] == "network"]
    assert told["status"] == "fail" and told["remedy"] == "vnicctl --network fast up"
    assert fabric.cli("network", "remove", "fast", check=False).returncode == 15
    assert "network fast is up" in fabric.cli("up").stdout
    assert blue.ping(green.ip).lost == 0, "a partition that no file names is there"
    assert fabric.cli("up", check=False).returncode == 4

    assert "these networks go on: fast" in fabric.cli("down").stdout
    assert blue.ping(green.ip).lost == 0
    assert "fast" in fabric.cli("down", "--all").stdout
    assert not fast.pids() and not Path(blue.netns).exists()
    fabric.up()
    assert shown(fabric, "fast") == {**about, "pid": fast.host_pid()}
    assert fast.add("blue").addresses == blue.addresses
    fabric.cli("network", "remove", "fast", "--force")
    assert not fast.runtime.exists() and not fast.pids()


@pytest.mark.parametrize("variable", [False, True])
def test_all_commands_work_on_the_network_that_is_named(fabric: Fabric, variable: bool) -> None:
    side = Network(fabric, "side").begin("--uplink", "internal", "--subnet", "10.88.0.0/24")
    if variable:
        fabric.env["VNICD_NETWORK"] = "side"
    words = () if variable else ("--network", "side")
    name = fabric.name("web")
    fabric.cli(*words, "partition", "add", name)
    assert fabric.cli(*words, "exec", name, "--", "echo", "--json").stdout == "--json\n"
    assert fabric.json(*words, "partition", "list")["partitions"][0]["name"] == name
    assert "subnets = " in fabric.cli(*words, "config", "export").stdout
    assert fabric.cli(*words, "apply", "--dry-run", check=False).returncode == 0
    fabric.env.pop("VNICD_NETWORK", None)
    assert side.call("partition.list")["partitions"]


def test_two_adds_at_once_make_one(fabric: Fabric) -> None:
    running = [
        fabric.popen_cli("network", "add", "same", "--uplink", "internal", stdout=-3, stderr=-3)
        for _ in range(3)
    ]
    assert sorted(each.wait(60) for each in running) == [0, 6, 6]
    fabric.cli("network", "remove", "same")
