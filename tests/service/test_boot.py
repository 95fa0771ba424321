"""The declared fabric at boot, and what systemd and the journal say of it."""

from __future__ import annotations

from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import HOST, Service, unit


def test_the_fabric_is_there_after_a_boot(service: Service, pair: Pair) -> None:
    service.reboot()
    service.wait_up("blue", "green")
    assert service.units() == {HOST: "active", unit("blue"): "active", unit("green"): "active"}
    blue, green = service.partition("blue"), service.partition("green")
    assert (blue.addresses, green.addresses) == (("10.77.0.2/24",), ("10.77.0.3/24",))
    wait_until(lambda: blue.ping(green.ip).lost == 0, 5, "green answers blue")
    wait_until(lambda: blue.ping(service.remote().ip).lost == 0, 5, "the remote end answers blue")
    uplink = service.call("uplink.show")["uplink"]
    assert (uplink["nic"], uplink["mode"], uplink["state"]) == ("nic0", "nat", "up")
    assert uplink["publish"] == ["8080:blue:80"]


def test_nothing_is_restarted_at_boot(service: Service, pair: Pair) -> None:
    service.reboot()
    service.wait_up("blue", "green")
    assert [service.restarts(name) for name in (HOST, unit("blue"), unit("green"))] == [0, 0, 0]
    assert service.container.systemctl("list-units", "--failed", "--no-legend") == ""


def test_systemctl_shows_a_status_that_says_something(service: Service, pair: Pair) -> None:
    assert "2 of 2 partitions up" in service.container.show(HOST, "StatusText")
    assert "nic0 (nat) up" in service.container.show(HOST, "StatusText")
    shown = service.container.systemctl("status", "--no-pager", "vnicd*")
    assert 'Status: "2 of 2 partitions up, uplink nic0 (nat) up"' in shown
    assert service.container.show(unit("blue"), "StatusText").startswith("serving port ")


def test_the_status_follows_the_fabric(service: Service, pair: Pair) -> None:
    service.cli("partition", "add", "red")
    assert service.container.show(HOST, "StatusText").startswith("3 of 3 partitions up")
    service.cli("partition", "remove", "red")
    assert service.container.show(HOST, "StatusText").startswith("2 of 2 partitions up")
    wait_until(lambda: unit("red") not in service.units(), 5, "the unit of red is gone")


def test_the_journal_says_what_the_daemons_said(service: Service, pair: Pair) -> None:
    service.container.systemctl("restart", "vnicd")
    assert "ready" in service.container.journal("--unit=vnicd", "--lines=20")
    assert "Traceback" not in service.container.journal("--unit=vnicd*")
    assert "ready" in service.cli("logs", "-n", "20").stdout
    assert "Started " in service.cli("logs", "blue").stdout


def test_daemons_are_unprivileged_and_confined(service: Service, pair: Pair) -> None:
    users = set()
    for label in ("blue", "green"):
        status = service.container.path(f"/proc/{service.main_pid(unit(label))}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {fields[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"
        (user,) = set(fields["Uid"].split())
        (group,) = set(fields["Gid"].split())
        assert group == service.container.run(["id", "--group", "vnicd"]).stdout.strip()
        users.add(user)
    assert len(users) == 2 and "0" not in users


def test_the_units_are_as_exposed_as_promised(service: Service, pair: Pair) -> None:
    promised = {unit("blue"): 2.0, HOST: 4.0}
    for name, most in promised.items():
        report = service.container.run(["systemd-analyze", "security", "--no-pager", name]).stdout
        score = float(report.rsplit("Overall exposure level for", 1)[1].split(":")[1].split()[0])
        assert score <= most, report
