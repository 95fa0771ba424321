"""Restarts and upgrades under traffic: what is lost of it, and what a partition keeps."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.framework.traffic.load import Load
from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import HOST, Service, unit
from tests.service.versions import with_version

GAP = 3.0
"""Most seconds that a pair is silent while one of its daemons starts anew."""


def lossless(load: Load) -> None:
    load.check_content()
    assert (load["ping"].lost, load["udp"].lost) == (0, 0), str(load)


def is_new(service: Service, name: str, former: int) -> bool:
    return service.main_pid(name) not in (0, former)


def test_a_restart_of_the_host_loses_nothing(service: Service, pair: Pair) -> None:
    units = (unit("blue"), unit("green"))
    host, before = service.main_pid(HOST), [service.main_pid(name) for name in units]
    with Load(*pair) as load:
        load.wait_until_it_flows(5)
        service.container.systemctl("restart", "vnicd")
        load.wait_until_it_flows(5)
    lossless(load)
    assert is_new(service, HOST, host)
    assert [service.main_pid(name) for name in units] == before
    service.wait_up("blue", "green")
    assert service.path(*pair) == "direct"


def test_direct_traffic_goes_on_while_the_host_is_stopped(service: Service, pair: Pair) -> None:
    with Load(*pair) as load:
        load.wait_until_it_flows(5)
        service.container.systemctl("stop", "vnicd")
        assert service.container.systemctl("is-active", "vnicd", check=False).strip() == "inactive"
        load.wait_until_it_flows(5)
        service.container.systemctl("start", "vnicd")
        load.wait_until_it_flows(5)
    lossless(load)


def test_a_killed_host_is_started_again_and_nothing_is_lost(service: Service, pair: Pair) -> None:
    host = service.main_pid(HOST)
    with Load(*pair) as load:
        load.wait_until_it_flows(5)
        service.container.systemctl("kill", "--kill-whom=main", "--signal=KILL", "vnicd")
        wait_until(lambda: is_new(service, HOST, host), 10, "systemd starts the host again")
        wait_until(lambda: service.container.show(HOST, "ActiveState") == "active", 10, "it is ready")
        load.wait_until_it_flows(5)
    lossless(load)
    service.wait_up("blue", "green")


@pytest.mark.parametrize("how", ["restart", "kill", "vnicctl"])
def test_a_partition_keeps_its_interface_and_connections(service: Service, pair: Pair, how: str) -> None:
    blue, green = pair
    name, former = unit("green"), service.main_pid(unit("green"))
    before = service.kernel_state(green)
    with Load(blue, green) as load, Load(green, blue, "tcp") as back:
        load.wait_until_it_flows(5)
        if how == "restart":
            service.container.systemctl("restart", name)
        elif how == "vnicctl":
            service.cli("partition", "restart", "green")
        else:
            service.container.systemctl("kill", f"--signal={signal.SIGKILL.value}", name)
        wait_until(lambda: is_new(service, name, former), 5, f"{name} has a new daemon")
        load.wait_until_it_flows(10)
        back.wait_until_it_flows(10)
    load.check_content()
    back.check_content()
    assert max(load[kind].gap for kind in ("udp", "ping")) < GAP, str(load)
    assert service.kernel_state(green) == before
    service.wait_up("blue", "green")
    service.wait_path(blue, green, "direct", timeout=10)


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_new_host_takes_back_a_partition_that_was_restarted(service: Service, pair: Pair, how: str) -> None:
    """It was not the last host that started that daemon, and a host that is killed writes nothing down any more."""
    units = (unit("blue"), unit("green"))
    service.container.systemctl("restart", *units)
    wait_until(lambda: pair[0].ping(pair[1].ip).lost == 0, 10, "green answers blue")
    service.wait_path(*pair, "direct")
    before = [service.main_pid(name) for name in units]
    with Load(*pair) as load:
        load.wait_until_it_flows(5)
        if how == "restart":
            service.container.systemctl("restart", "vnicd")
        else:
            host = service.main_pid(HOST)
            service.container.systemctl("kill", "--kill-whom=main", "--signal=KILL", "vnicd")
            wait_until(lambda: is_new(service, HOST, host), 10, "systemd starts the host again")
            wait_until(lambda: service.container.show(HOST, "ActiveState") == "active", 10, "it is ready")
        load.wait_until_it_flows(5)
    lossless(load)
    assert [service.main_pid(name) for name in units] == before
    service.wait_up("blue", "green")
    assert "ERROR" not in service.container.journal("--unit=vnicd", "--lines=8")


@pytest.mark.parametrize("at_once", [True, False])
def test_the_host_and_the_partitions_may_be_restarted(service: Service, pair: Pair, at_once: bool) -> None:
    """Together, and one right after the other: what the partitions' kernels have stays."""
    pair[0].know(pair[1])
    before = [service.kernel_state(one) for one in pair]
    names = [HOST, unit("blue"), unit("green")]
    with Load(*pair) as load, Load(pair[1], pair[0], "tcp") as back:
        load.wait_until_it_flows(5)
        for group in [names] if at_once else [names[:1], names[1:]]:
            service.container.systemctl("restart", *group)
        load.wait_until_it_flows(15)
        back.wait_until_it_flows(15)
    load.check_content()
    back.check_content()
    assert [service.kernel_state(one) for one in pair] == before
    service.wait_up("blue", "green")


def test_an_upgrade_loses_nothing(service: Service, pair: Pair, wheels: Path, tmp_path: Path) -> None:
    """First only the host runs the new version, then the partitions too, one after the other."""
    newer = service.container.path("/root/newer")
    with_version(wheels, newer, "99.1")
    service.container.run(["cp", "-a", "/opt/vnicd", "/root/older"])
    units = [unit("blue"), unit("green")]
    before = [service.main_pid(name) for name in units]
    try:
        with Load(*pair) as load:
            load.wait_until_it_flows(5)
            assert "99.1 is installed; it runs after" in service.install("--wheels", "/root/newer")
            assert service.call("fabric.ping")["version"] != "99.1"
            service.container.systemctl("restart", "vnicd")
            load.wait_until_it_flows(5)
        lossless(load)
        assert service.call("fabric.ping")["version"] == "99.1"
        assert [service.main_pid(name) for name in units] == before
        with Load(*pair) as load:
            load.wait_until_it_flows(5)
            service.container.systemctl("restart", *units)
            load.wait_until_it_flows(10)
        load.check_content()
    finally:
        service.container.run(["rm", "-rf", "/opt/vnicd"])
        service.container.run(["mv", "/root/older", "/opt/vnicd"])
        service.container.systemctl("restart", "vnicd")
        service.wait_path(*pair, "direct")
        service.container.systemctl("restart", *units)
    service.wait_up("blue", "green")
    assert service.call("fabric.ping")["version"] != "99.1"
