"""`vnicctl down` ends everything: also units that systemd is about to start again, and at any moment."""

from __future__ import annotations

import time

import pytest

from tests.framework.waiting import holds_for, wait_until
from tests.service.conftest import Pair
from tests.service.service import HOST, Service, unit

QUIET = 1.0
"""Seconds in which a unit that systemd was to start again would be."""


def nothing_runs(service: Service) -> bool:
    return service.units() == {} and not service.container.path("/run/netns/blue").exists()


def assert_down(service: Service) -> None:
    wait_until(lambda: nothing_runs(service), 5, "nothing runs")
    holds_for(lambda: nothing_runs(service), QUIET, "nothing is started again")


def test_partitions_that_were_just_killed(service: Service, pair: Pair) -> None:
    service.container.systemctl("kill", "--signal=KILL", "vnicd-partition@*")
    service.cli("down")
    assert_down(service)


def test_killed_partitions_without_a_host(service: Service, pair: Pair) -> None:
    service.container.systemctl("stop", "vnicd.socket", "vnicd")
    service.container.systemctl("kill", "--signal=KILL", "vnicd-partition@*")
    service.cli("down")
    assert_down(service)


def test_a_stopped_partition_without_a_host(service: Service, pair: Pair) -> None:
    """It has to be killed, and systemd starts a killed one again unless it was asked to end it."""
    service.container.systemctl("stop", "vnicd.socket", "vnicd")
    service.container.systemctl("kill", "--signal=STOP", unit("blue"))
    service.cli("down")
    assert_down(service)


@pytest.mark.parametrize("signal", ["STOP", "KILL"])
def test_the_files_were_deleted_as_well(service: Service, pair: Pair, signal: str) -> None:
    """Nobody remembers the partitions; the daemon can't end by itself, or is started again and again in vain."""
    service.container.systemctl("stop", "vnicd.socket", "vnicd")
    service.container.systemctl("kill", f"--signal={signal}", unit("blue"))
    service.container.run(["rm", "-r", "/run/vnicd"])
    service.cli("down")
    assert_down(service)


def test_a_start_after_the_files_were_deleted(service: Service, pair: Pair) -> None:
    """What the file declares is made in the place of what is left."""
    service.container.systemctl("stop", "vnicd.socket", "vnicd")
    service.container.systemctl("kill", "--signal=STOP", unit("blue"))
    service.container.run(["rm", "-r", "/run/vnicd"])
    service.container.systemctl("start", "vnicd")
    service.wait_up("blue", "green")
    assert service.partition("blue").ping(pair[1].ip, count=3).lost == 0


def test_everything_was_just_killed(service: Service, pair: Pair) -> None:
    service.container.systemctl("kill", "--signal=KILL", "vnicd", "vnicd-partition@*")
    service.cli("down")
    assert_down(service)


def test_while_a_host_starts_and_waits_for_its_partitions(service: Service, pair: Pair) -> None:
    """They can't be started, which it finds out after ten seconds."""
    service.container.systemctl("stop", "vnicd", "vnicd-partition@*")
    service.container.systemctl("mask", "--runtime", unit("blue"), unit("green"))
    try:
        service.container.systemctl("start", "--no-block", "vnicd")
        wait_until(lambda: service.call("fabric.ping")["starting"], 10, "it waits for them")
        begin = time.monotonic()
        service.cli("down")
        assert time.monotonic() - begin < 5
        assert service.container.show(HOST, "ActiveState") == "inactive"
    finally:
        service.container.systemctl("unmask", "--runtime", unit("blue"), unit("green"))
    assert_down(service)
