"""The control socket that systemd holds: it leads to a hosting daemon whatever becomes of its file, or says why not."""

from __future__ import annotations

import time

import pytest

from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import CONFIG, HOST, UPLINK, Service

SOCKET = "vnicd.socket"

SOON = 5.0
"""Seconds in which a command ends though there is no hosting daemon; it takes a few tenths."""

WRONG = "[partitions.red\n"


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_new_host_is_found_after_the_directory_was_deleted(service: Service, pair: Pair, how: str) -> None:
    """Then the socket that systemd has open is nowhere any more, and a file that the former host made is not it."""
    former = service.main_pid(HOST)
    service.container.run(["rm", "-rf", "/run/vnicd"])
    wait_until((service.runtime / "control.sock").exists, 10, "the host has made its files anew")
    if how == "restart":
        service.container.systemctl("restart", "vnicd")
    else:
        service.container.systemctl("kill", "--kill-whom=main", "--signal=KILL", "vnicd")
    wait_until(lambda: service.main_pid(HOST) not in (0, former), 10, "there is a new host")
    wait_until(lambda: service.cli("status", check=False).returncode == 0, 5, "it is found")
    service.wait_up("blue", "green")
    service.begin_anew()


def test_a_host_without_partitions_leaves_the_socket(service: Service, pair: Pair) -> None:
    """It has no state, as just after the installation."""
    service.cli("down")
    service.declare("")
    service.container.systemctl("start", "vnicd")
    service.container.systemctl("stop", "vnicd")
    assert (
        service.cli("status").returncode == 0
    )  # which may be answered before systemd has read that it is ready
    wait_until(lambda: service.container.show(HOST, "ActiveState") == "active", 10, "the host is active")


def test_a_host_that_cannot_start_tells_its_clients_why(service: Service, pair: Pair) -> None:
    """None waits, no start is tried without a client, and once the file is right the next one finds a host."""
    service.container.systemctl("stop", "vnicd")
    service.declare(WRONG)
    for words in (["status"], ["apply", "--dry-run", "/dev/null"], ["partition", "add", "red"]):
        begin = time.monotonic()
        done = service.cli(*words, check=False)
        assert time.monotonic() - begin < SOON
        assert (done.returncode, done.stdout) == (7, "")
        assert done.stderr.startswith(f"vnicctl: the hosting daemon can't run: {CONFIG}:1: ")
    complaints = [check for check in service.doctor() if check["name"] == "fabric"]
    assert [f"{CONFIG}:1: " in check["detail"] for check in complaints] == [True]
    assert service.restarts(HOST) == 0
    assert service.container.show(SOCKET, "ActiveState") == "active"
    wait_until(lambda: service.container.show(HOST, "ActiveState") == "failed", 10, "the last host has ended")
    service.declare(UPLINK)
    assert service.cli("status").returncode == 0


def test_down_needs_no_right_file(service: Service, pair: Pair) -> None:
    service.container.systemctl("stop", "vnicd")
    service.declare(WRONG)
    service.cli("down")
    assert service.units().keys() <= {HOST}  # which has failed
    assert [service.container.show(unit, "ActiveState") for unit in (HOST, SOCKET)] == ["failed", "inactive"]
    assert not service.container.path("/run/netns/blue").exists()


def test_another_host_stays_the_one(service: Service, pair: Pair) -> None:
    """That of `vnicctl up`, whose socket systemd has replaced: the unit fails, and clients find the other one again."""
    service.cli("down")
    service.cli("up")
    pid = service.host_pid()
    service.container.systemctl("start", "vnicd", check=False)
    wait_until(lambda: service.cli("status", check=False).returncode == 0, 10, "a host is found")
    assert service.host_pid() == pid
    # a client that comes before the other host has its socket back wakes the unit once more
    wait_until(lambda: service.container.show(HOST, "ActiveState") == "failed", 10, "the unit has failed")
    assert service.restarts(HOST) == 0
    assert f"pid {pid}, runs already in /run/vnicd" in service.container.journal("--unit=vnicd", "--lines=9")
    service.cli("down")
    service.container.systemctl("start", "vnicd")
    service.wait_up("blue", "green")


def test_the_socket_bears_many_starts(service: Service, pair: Pair) -> None:
    for _ in range(8):
        service.cli("down")
        service.container.systemctl("start", "vnicd")
    assert service.container.show(SOCKET, "ActiveState") == "active"


def test_who_wakes_the_host_can_change_the_fabric(service: Service, pair: Pair) -> None:
    """Not before it is what the file declares, or what was added would be taken away again as not in it."""
    service.container.systemctl("stop", "vnicd", "vnicd-partition@*")
    service.cli("partition", "add", "red")
    service.wait_up("blue", "green", "red")
