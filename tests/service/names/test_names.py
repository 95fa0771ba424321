"""Names under systemd: the helper is a confined unit, which comes back and ends with the hosting daemon."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import HOST, Service


def helpers(service: Service) -> list[str]:
    listed = service.container.systemctl("list-units", "--no-legend", "--plain", "vnicd-names@*.service")
    return [line.split()[0] for line in listed.splitlines()]


def found(service: Service, name: str) -> str:
    argv = ["ip", "netns", "exec", "blue", "getent", "ahostsv4", name]
    return (service.container.run(argv, check=False).stdout.split() or [""])[0]


def is_replaced(service: Service, harm: Callable[[str], object]) -> None:
    """There is another helper after the harm was done to the one that there is."""
    (old,) = helpers(service)
    harm(old)
    wait_until(lambda: len(helpers(service)) == 1 and helpers(service) != [old], 30, f"{old} is replaced")


def test_names_are_answered_by_a_confined_unit(service: Service, pair: Pair) -> None:
    _, green = pair
    wait_until(lambda: found(service, "green") == green.ip, 20, "blue finds green")
    (unit,) = helpers(service)
    status = service.container.run(["cat", f"/proc/{service.main_pid(unit)}/status"]).stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] != "0"
    assert fields["CapEff"].strip("0") == ""
    assert fields["Seccomp"] == "2"
    names = json.loads(service.cli("status", "--json").stdout)["fabric"]["names"]
    assert names["forwarding"], "there is an uplink"


def test_it_comes_back_and_ends_with_the_hosting_daemon(service: Service, pair: Pair) -> None:
    _, green = pair
    wait_until(lambda: found(service, "green") == green.ip, 20, "blue finds green")
    for number in ("STOP", "KILL"):
        is_replaced(service, lambda unit: service.container.systemctl("kill", f"--signal={number}", unit))  # noqa: B023
        wait_until(lambda: found(service, "green") == green.ip, 20, "blue finds green again")
    is_replaced(service, lambda unit: service.container.systemctl("restart", HOST))
    wait_until(lambda: found(service, "green") == green.ip, 20, "blue finds green again")
    service.container.systemctl("stop", "vnicd.socket", HOST)
    wait_until(lambda: not helpers(service), 20, "the helper has ended")
    service.container.systemctl("start", HOST)
    wait_until(lambda: found(service, "green") == green.ip, 20, "blue finds green again")
    assert service.container.path("/etc/netns/green/resolv.conf").exists()
    service.cli("down")
    left = service.container.path("/etc/netns")
    wait_until(lambda: not left.exists(), 10, "no file is left in /etc/netns")
    assert not service.container.path("/run/vnicd/names.sock").exists()
