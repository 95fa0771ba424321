"""The journal: priorities and fields, who changed what, and why a daemon of a unit does not start."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import HOST, Service, unit

SOON_S = 9.0
"""Seconds in which a daemon that can't start is told of; one is waited for 10 seconds."""

DROP_IN = "/run/systemd/system/vnicd-partition@red.service.d/broken.conf"


def entries(service: Service, *matches: str) -> list[dict[str, Any]]:
    """What the journal has since the boot, with its fields."""
    argv = ["journalctl", "--boot", "--no-pager", "--output=json", "--all", *matches]
    return [json.loads(line) for line in service.container.run(argv).stdout.splitlines()]


def test_who_changed_what_is_found_by_fields(service: Service, pair: Pair) -> None:
    service.cli("partition", "add", "red", "--address", "10.77.0.9/24")
    service.cli("partition", "add", "red", check=False)
    service.cli("partition", "remove", "red")
    matches = ("SYSLOG_IDENTIFIER=vnicd", "VNICD_PARTITION=red")

    def of_changes() -> list[dict[str, Any]]:
        return [each for each in entries(service, *matches) if "VNICD_METHOD" in each]

    found = wait_until(lambda: len(of_changes()) >= 3 and of_changes(), 10, "the journal has all three")
    assert [(each["VNICD_METHOD"], each["PRIORITY"]) for each in found[-3:]] == [
        ("partition.add", "5"),
        ("partition.add", "4"),
        ("partition.remove", "5"),
    ]
    assert {each["VNICD_FABRIC"] for each in found} == {"/run/vnicd"}
    assert {each["VNICD_USER"] for each in found} == {"root"}
    assert {each["_SYSTEMD_UNIT"] for each in found} == {HOST}
    assert all(each["MESSAGE"].startswith(each["VNICD_METHOD"]) for each in found)  # no time of our own


def test_a_hangup_ends_nobody(service: Service, pair: Pair) -> None:
    pids = [service.main_pid(each) for each in (HOST, unit("blue"))]
    service.container.systemctl("kill", "--signal=HUP", HOST, unit("blue"))
    service.cli("status")
    assert [service.main_pid(each) for each in (HOST, unit("blue"))] == pids


def test_a_daemon_that_cannot_start_says_why(service: Service, pair: Pair) -> None:
    """In its journal with a priority, and to who asked for it."""
    service.container.run(["chmod", "700", "/run/vnicd"])
    try:
        begin = time.monotonic()
        done = service.cli("partition", "add", "red", check=False)
        assert time.monotonic() - begin < SOON_S
    finally:
        service.container.run(["chmod", "755", "/run/vnicd"])
    assert done.returncode == 1
    told, _, why = done.stderr.strip().partition("the runtime directory ")
    assert told.startswith("vnicctl: the daemon of partition red can't start: ")
    assert why.startswith("/run/vnicd can't be entered by user ")
    said = entries(service, f"_SYSTEMD_UNIT={unit('red')}", "PRIORITY=3")
    assert {each["MESSAGE"] for each in said} == {f"the runtime directory {why}"}
    service.cli("partition", "add", "red")


def test_a_unit_whose_program_is_missing(service: Service, pair: Pair) -> None:
    path = service.container.path(DROP_IN)
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=\nExecStart=/opt/vnicd/bin/none\n")
    service.container.systemctl("daemon-reload")
    try:
        done = service.cli("partition", "add", "red", check=False)
    finally:
        path.unlink()
        service.container.systemctl("daemon-reload")
    assert done.returncode == 1
    assert done.stderr.startswith("vnicctl: the daemon of partition red can't start: ")
    assert "/opt/vnicd/bin/none" in done.stderr or "exit status 203" in done.stderr


def test_a_disabled_service_is_started_by_nobody_else(service: Service, pair: Pair) -> None:
    """And vnicctl names what starts it, also while it is enabled and was stopped with its socket."""
    try:
        service.container.systemctl("disable", "--now", "vnicd")
        wait_until(lambda: is_off(service), 10, "the socket has ended, too")
        done = service.cli("status", check=False)
        assert (done.returncode, done.stderr) == (
            3,
            "vnicctl: no hosting daemon answers at /run/vnicd/control.sock; "
            "start one with: systemctl start vnicd\n",
        )
        service.container.systemctl("start", "vnicd")
        service.container.systemctl("restart", "vnicd")  # ends no socket
        assert service.container.show("vnicd.socket", "ActiveState") == "active"
    finally:
        service.container.systemctl("enable", "vnicd")
    service.container.systemctl("stop", "vnicd")
    assert service.cli("status").returncode == 0  # whoever asks starts an enabled one


def is_off(service: Service) -> bool:
    states = [service.container.show(each, "ActiveState") for each in (HOST, "vnicd.socket")]
    return states == ["inactive", "inactive"]
