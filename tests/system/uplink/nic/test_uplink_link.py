"""The NIC's link: a cable pulled, an interface set down, a NIC that goes and comes back are followed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.framework.fabric.machine import open_files
from tests.framework.fabric.partition import Partition
from tests.framework.traffic.traffic import carry
from tests.framework.uplink.uplink import NIC, WIRE, Machine, Uplinked, add
from tests.framework.waiting import holds_for, wait_until

SOON = 1.0
"""Seconds within which a change of the NIC must be followed."""


def cable_pulled(machine: Machine) -> None:
    machine.remote.run(["ip", "link", "set", WIRE, "down"])


def cable_put_in(machine: Machine) -> None:
    machine.remote.run(["ip", "link", "set", WIRE, "up"])
    machine.configure()


def set_down(machine: Machine) -> None:
    machine.here.run(["ip", "link", "set", NIC, "down"])


def set_up(machine: Machine) -> None:
    machine.here.run(["ip", "link", "set", NIC, "up"])
    machine.configure()


def removed(machine: Machine) -> None:
    machine.here.run(["ip", "link", "del", NIC])


def made_again(machine: Machine) -> None:
    machine.plug()


Change = Callable[[Machine], None]
CHANGES: dict[str, tuple[Change, Change]] = {
    "no-carrier": (cable_pulled, cable_put_in),
    "down": (set_down, set_up),
    "absent": (removed, made_again),
}


def carrier(partition: Partition) -> bool:
    """Whether the partition's kernel sees a link."""
    (link,) = json.loads(partition.run(["ip", "-j", "link", "show", partition.ifname]).stdout)
    return "LOWER_UP" in link["flags"] and "NO-CARRIER" not in link["flags"]


def await_way_out(partition: Partition, machine: Machine) -> None:
    """Until it reaches the remote host, which must be soon after the NIC is back."""
    target = machine.remote.ip
    wait_until(lambda: partition.ping(target, "-W", "0.1", count=1).received, 5, f"{partition.name} is out")


def state(machine: Machine) -> str:
    return str(machine.uplink["state"])


@pytest.mark.parametrize(
    ("mode", "changes"),
    [("bridge", list(CHANGES)), ("shared", ["absent"]), ("nat", ["no-carrier", "absent"])],
)
def test_what_happens_to_the_nic_is_followed(machine: Machine, mode: str, changes: list[str]) -> None:
    """Each is shown, hurts nobody inside, and traffic is back soon after the NIC is."""
    up = Uplinked.start(machine, mode)
    for shown in changes:
        change, back = CHANGES[shown]
        change(machine)
        wait_until(lambda shown=shown: state(machine) == shown, SOON, f"{shown} is shown")
        assert machine.uplink["carrier"] is False
        assert carrier(up.web)
        assert up.web.ping(up.db.ip, count=3).lost == 0
        if shown == "no-carrier" or mode == "nat":
            assert machine.here.ping(up.web.ip, count=3).lost == 0
        assert up.web.ping(machine.remote.ip, "-W", "0.2", count=2).received == 0
        back(machine)
        wait_until(lambda: state(machine) == "up", SOON, f"up again after {shown}")
        assert machine.uplink["carrier"] is True
        await_way_out(up.web, machine)
        for one, other in up.ways:
            assert one.ping(other.ip, count=3).lost == 0
            assert one.ping(other.ip6, count=3).lost == 0
        carry(up.web, machine.remote, machine.remote.ip)
    assert machine.here.ping(machine.remote.ip, count=3).lost == 0


def test_partitions_links_follow_when_asked_to(machine: Machine) -> None:
    """--propagate-link, also for a partition that comes meanwhile; without it they stay."""
    up = Uplinked.start(machine, "bridge", "--propagate-link")
    assert machine.uplink["propagate_link"] is True
    for shown, (change, back) in CHANGES.items():
        assert carrier(up.web)
        change(machine)
        wait_until(lambda: not carrier(up.web) and not carrier(up.db), SOON, f"no link: {shown}")
        late = add(machine.fabric, "bridge", "late", 40)
        wait_until(lambda late=late: not carrier(late), SOON, "nor for the new one")
        back(machine)
        wait_until(lambda late=late: all(map(carrier, (up.web, up.db, late))), SOON, "they are back")
        await_way_out(up.web, machine)
        machine.fabric.cli("partition", "remove", late.name)

    cable_pulled(machine)
    wait_until(lambda: not carrier(up.web), SOON, "no link")
    machine.set()  # without --propagate-link
    wait_until(lambda: carrier(up.web), SOON, "the link is back")
    machine.set("--propagate-link")
    wait_until(lambda: not carrier(up.web), SOON, "no link")
    machine.clear()
    wait_until(lambda: carrier(up.web), SOON, "without an uplink there is a link")
    assert up.web.ping(up.db.ip, count=3).lost == 0
    cable_put_in(machine)


def test_a_host_that_starts_without_the_nic(machine: Machine) -> None:
    """The NIC went while the host was dead: the uplink is kept, and taken up when the NIC is there."""
    up = Uplinked.start(machine, "bridge")
    machine.kill_host()
    removed(machine)
    machine.fabric.up()
    assert state(machine) == "absent"
    assert up.web.ping(up.db.ip, count=3).lost == 0
    machine.plug()
    wait_until(lambda: state(machine) == "up", SOON, "it is up")
    await_way_out(up.web, machine)
    assert machine.here.ping(up.web.ip, count=3).lost == 0


def test_an_uplink_on_a_nic_without_a_cable(machine: Machine) -> None:
    cable_pulled(machine)
    up = Uplinked.start(machine, "bridge")
    assert state(machine) == "no-carrier"
    assert machine.here.ping(up.web.ip, count=3).lost == 0
    cable_put_in(machine)
    wait_until(lambda: state(machine) == "up", SOON, "it is up")
    assert up.web.ping(machine.remote.ip, count=3).lost == 0


def test_a_nic_that_flaps(machine: Machine) -> None:
    """The control socket answers all along, and nothing of an old NIC stays."""
    up = Uplinked.start(machine, "bridge")
    pid = machine.fabric.host_pid()
    files = len(open_files(pid))
    for _ in range(2):
        for change, back in CHANGES.values():
            change(machine)
            machine.fabric.call("status")
            back(machine)
    wait_until(lambda: state(machine) == "up", SOON, "it is up")
    await_way_out(up.web, machine)
    assert machine.fabric.host_pid() == pid
    wait_until(lambda: len(open_files(pid)) <= files, 3, f"no more than {files} descriptors")
    holds_for(lambda: state(machine) == "up", 0.3, "up")
