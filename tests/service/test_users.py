"""Each partition daemon has a user of its own under systemd, so that none can reach, nor starve, another."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.framework.evil import neighbour
from tests.framework.waiting import wait_for_output, wait_until
from tests.service.conftest import Pair
from tests.service.service import DECLARED, HOST, Service, unit

PROGRAM = Path(neighbour.__file__).read_text()
TEMPLATE = "/etc/systemd/system/vnicd-partition@.service"
DROP_INS = "/run/systemd/system/vnicd-partition@*.d"
ODD = ("7.a_name-of.thirty-two.letters.1", "7.a_name-of.thirty-two.letters.2")
"""Names of partitions of which systemd would make no user."""


def identity(service: Service, label: str) -> tuple[int, int]:
    """User and group of a partition's daemon."""
    status = service.container.run(["cat", f"/proc/{service.main_pid(unit(label))}/status"]).stdout
    (user,), (group,) = (set(line.split()[1:]) for line in re.findall("^[UG]id:.*", status, re.MULTILINE))
    return int(user), int(group)


def acting(service: Service, label: str, *words: str) -> list[str]:
    """The command line of the neighbour's program as the user of a partition's daemon; it has no other bonds."""
    user, group = identity(service, label)
    become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--bounding-set=-all"]
    return service.container.inside([*become, "/usr/bin/python3", "-c", PROGRAM, *words])


def reach(service: Service, label: str, pid: int) -> dict[str, str]:
    done = subprocess.run(acting(service, label, "reach", str(pid)), capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return dict(json.loads(done.stdout))


@contextmanager
def hoarding(service: Service, label: str) -> Iterator[bytes]:
    """The user of a partition's daemon has as many descriptors in flight as it may; how that ended."""
    pipe = subprocess.PIPE
    argv = acting(service, label, "hoard")
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, bufsize=0) as process:
        assert process.stdout
        yield wait_for_output(process.stdout, b"\n", 20)
        process.communicate()


def restart(service: Service, label: str) -> None:
    former = service.main_pid(unit(label))
    service.container.systemctl("restart", unit(label))
    wait_until(lambda: service.main_pid(unit(label)) not in (0, former), 10, f"{label} has a new daemon")


@pytest.fixture
def red(service: Service, pair: Pair) -> str:
    """A third partition, declared as the others are."""
    assert pair
    service.declare(f'{DECLARED}\n[partitions.red]\naddresses = ["10.77.0.4/24"]\n')
    service.container.systemctl("reload", "vnicd")
    service.wait_up("blue", "green", "red")
    return "red"


def test_no_daemon_can_reach_another(service: Service, pair: Pair) -> None:
    users = {identity(service, label)[0] for label in ("blue", "green")}
    assert len(users) == 2 and 0 not in users
    for label in ("green", HOST):
        tries = reach(service, "blue", service.main_pid(unit(label) if label == "green" else label))
        assert set(tries) == set(neighbour.TRIES)
        assert set(tries.values()) <= neighbour.DENIED, tries
    assert reach(service, "blue", service.main_pid(unit("blue")))["kill"] == "done", "it is tried as its user"


def test_one_daemon_starves_no_other(service: Service, pair: Pair, red: str) -> None:
    """With as many descriptors in flight as its user may have: others register, and make links; it can't itself."""
    others = unit("blue"), unit("green")
    with hoarding(service, red) as said:
        assert said.startswith(b"ETOOMANYREFS "), said
        restart(service, "blue")
        wait_until(lambda: pair[0].ping(pair[1].ip).lost == 0, 10, "green answers blue")
        service.wait_path(*pair, "direct")
        before = [service.main_pid(name) for name in others]
        service.container.systemctl("restart", HOST)
        wait_until(lambda: [one.info["state"] for one in pair] == ["up", "up"], 10, "the host has them again")
        assert [service.main_pid(name) for name in others] == before
        assert service.partition(red).info["state"] != "up"
    service.wait_up("blue", "green", red)


@contextmanager
def older_unit(service: Service, *labels: str) -> Iterator[None]:
    """Within, the unit is as it was when all had the user vnicd; the daemons that are started there stay."""
    template = service.container.path(TEMPLATE)
    newer = template.read_text()
    template.write_text(newer.replace("DynamicUser=yes\nUser=vnicd-%i\n", "User=vnicd\n"))
    try:
        service.container.run(["sh", "-c", f"rm -rf {DROP_INS}"])
        service.container.systemctl("daemon-reload")
        for label in labels:
            restart(service, label)
        yield
    finally:
        template.write_text(newer)
        service.container.systemctl("daemon-reload")


def test_a_restart_after_an_upgrade_changes_the_user(service: Service, pair: Pair) -> None:
    """The daemons of the older version go on until they are started anew, then each has its own."""
    labels = ("blue", "green", ODD[0])
    service.declare(f'{DECLARED}\n[partitions."{ODD[0]}"]\naddresses = ["10.77.0.4/24"]\n')
    service.container.systemctl("reload", "vnicd")
    service.wait_up(*labels)
    with older_unit(service, *labels):
        service.wait_up(*labels)
        assert len({identity(service, label) for label in labels}) == 1
        before = [service.main_pid(unit(label)) for label in labels]
    service.container.systemctl("restart", HOST)
    service.wait_up(*labels)
    assert [service.main_pid(unit(label)) for label in labels] == before
    for label in labels:
        restart(service, label)
    service.wait_up(*labels)
    assert len({identity(service, label) for label in labels}) == 3
    wait_until(lambda: pair[0].ping(pair[1].ip).lost == 0, 10, "green answers blue")
    service.wait_path(*pair, "direct")


def test_names_that_are_no_user_names(service: Service, pair: Pair) -> None:
    """Such partitions get users of their own, too, and nothing of that is left behind."""
    assert pair
    labels = ("blue", "green", *ODD)
    for number, name in enumerate(ODD):
        service.cli("partition", "add", name, "--address", f"10.77.0.{10 + number}/24")
    service.wait_up(*labels)
    users = {identity(service, label)[0] for label in labels}
    assert len(users) == 4 and 0 not in users
    restart(service, ODD[0])
    service.container.systemctl("kill", "--signal=KILL", unit(ODD[1]))
    wait_until(lambda: service.restarts(unit(ODD[1])), 5, "systemd starts it again")
    service.wait_up(*labels)
    assert {identity(service, label)[0] for label in labels} == users
    for name in ODD:
        service.cli("partition", "remove", name)
    assert service.container.run(["sh", "-c", f"ls -d {DROP_INS}"], check=False).stdout == ""
