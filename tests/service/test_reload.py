"""`systemctl reload vnicd`: the fabric follows the file, and what is unchanged does not notice."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.framework.traffic.load import Load
from tests.framework.waiting import wait_until
from tests.service.conftest import Pair
from tests.service.service import DECLARED, HOST, PAIR, Service, unit

RED = '\n[partitions.red]\naddresses = ["10.77.0.4/24"]\n'


def pids(service: Service, *names: str) -> list[int]:
    return [service.main_pid(name) for name in names]


def test_only_the_difference_changes(service: Service, pair: Pair) -> None:
    """A partition comes and goes, the uplink goes and comes, while a pair that is declared the same talks."""
    units = (HOST, unit("blue"), unit("green"))
    before = pids(service, *units)
    with Load(*pair) as load:
        load.wait_until_it_flows(5)
        service.declare(DECLARED + RED)
        service.container.systemctl("reload", "vnicd")
        service.wait_up("blue", "green", "red")
        red = service.partition("red")
        assert red.ping(pair[0].ip, count=10).lost == 0
        service.declare(DECLARED)
        service.container.systemctl("reload", "vnicd")
        service.wait_up("blue", "green")
        load.wait_until_it_flows(5)
    load.check_content()
    assert (load["ping"].lost, load["udp"].lost) == (0, 0), str(load)
    assert pids(service, *units) == before
    assert unit("red") not in service.units()


def test_an_apply_by_hand_is_a_reload_for_systemd(service: Service, pair: Pair) -> None:
    labels = ("red", "cyan", "pink", "gold", "gray", "teal")
    service.declare(DECLARED + "".join(f"[partitions.{label}]\n" for label in labels))
    states = set()
    with subprocess.Popen(service.container.inside(["vnicctl", "apply"]), stdout=subprocess.DEVNULL) as apply:

        def is_over() -> bool:
            states.add(service.container.show(HOST, "ActiveState"))
            return apply.poll() is not None

        wait_until(is_over, 30, "the file is applied")
    assert apply.returncode == 0
    assert "reloading" in states
    assert service.container.show(HOST, "ActiveState") == "active"
    assert service.container.show(HOST, "StatusText").startswith("8 of 8 partitions up")


def test_a_changed_partition_keeps_its_daemon(service: Service, pair: Pair) -> None:
    before = pids(service, unit("blue"), unit("green"))
    text = DECLARED.replace('["10.77.0.3/24"]', '["10.77.0.3/24", "10.77.0.33/24"]')
    with Load(*pair) as load:
        load.wait_until_it_flows(5)
        service.declare(text)
        service.container.systemctl("reload", "vnicd")
        assert pair[0].ping("10.77.0.33", count=10).lost == 0
        load.wait_until_it_flows(5)
    load.check_content()
    assert (load["ping"].lost, load["udp"].lost) == (0, 0), str(load)
    assert pids(service, unit("blue"), unit("green")) == before


def test_a_reload_of_the_same_file_changes_nothing(service: Service, pair: Pair) -> None:
    done = service.cli("apply", "--dry-run")
    assert "nothing to change" in done.stdout
    units = (HOST, unit("blue"), unit("green"))
    before = pids(service, *units)
    service.container.systemctl("reload", "vnicd")
    assert pids(service, *units) == before


def test_a_wrong_file_fails_the_reload_and_changes_nothing(service: Service, pair: Pair) -> None:
    before = service.call("partition.list")
    service.declare(DECLARED + '\n[partitions.red]\nadresses = ["10.77.0.4/24"]\n')
    done = subprocess.run(service.container.inside(["systemctl", "reload", "vnicd"]), capture_output=True)
    assert done.returncode
    line = DECLARED.count("\n") + 3
    journal = service.container.journal("--unit=vnicd", "--lines=10")
    assert f"/etc/vnicd/vnicd.toml:{line}: " in journal
    assert "adresses" in journal
    assert service.call("partition.list") == before
    assert service.container.systemctl("is-active", "vnicd").strip() == "active"
    assert pair[0].ping(pair[1].ip, count=10).lost == 0


def test_what_the_machine_cannot_give_fails_the_reload_and_changes_nothing(
    service: Service, pair: Pair
) -> None:
    """The journal has the reason; when the service starts with it, the rest of the file is there all the same."""
    before = pids(service, unit("blue"), unit("green"))
    wrong = '\n[partitions.red]\nnetns = "nowhere"\n'
    service.declare(DECLARED.replace("[partitions.green]", "[partitions.lime]") + wrong)
    done = subprocess.run(service.container.inside(["systemctl", "reload", "vnicd"]), capture_output=True)
    assert done.returncode
    journal = service.container.journal("--unit=vnicd", "--lines=20")
    assert "can't be made: there is no network namespace at /run/netns/nowhere" in journal
    assert "nothing was changed" in journal
    assert pids(service, unit("blue"), unit("green")) == before
    assert pair[0].ping(pair[1].ip, count=10).lost == 0
    service.declare(DECLARED + wrong)
    service.container.systemctl("restart", "vnicd")
    assert {each["name"] for each in service.call("partition.list")["partitions"]} == {"blue", "green"}
    assert pids(service, unit("blue"), unit("green")) == before


def test_a_fifo_in_place_of_the_file_fails_the_reload(service: Service, pair: Pair) -> None:
    """Nobody writes into it, and nobody waits for that."""
    before = service.call("partition.list")
    path = service.container.path("/etc/vnicd/vnicd.toml")
    text = path.read_text()
    path.unlink()
    os.mkfifo(path)
    try:
        reload = service.container.inside(["systemctl", "reload", "vnicd"])
        assert subprocess.run(reload, capture_output=True, timeout=30).returncode
    finally:
        path.unlink()
        path.write_text(text)
    journal = service.container.journal("--unit=vnicd", "--lines=10")
    assert "/etc/vnicd/vnicd.toml is not a regular file" in journal
    assert service.call("partition.list") == before
    assert service.container.systemctl("is-active", "vnicd").strip() == "active"


@pytest.mark.parametrize("wrong", ["[partitions.red\n", 'hugepages = "sometimes"\n'])
def test_a_wrong_file_is_told_of_when_the_service_starts(service: Service, pair: Pair, wrong: str) -> None:
    """It fails with one line of ours; once the file is right again, it starts."""
    service.container.systemctl("stop", "vnicd")
    service.declare(wrong + PAIR)
    done = subprocess.run(service.container.inside(["systemctl", "start", "vnicd"]), capture_output=True)
    try:
        assert done.returncode
        journal = service.container.journal("--unit=vnicd", "--lines=20")
        assert "/etc/vnicd/vnicd.toml:1: " in journal
        assert "Traceback" not in journal
        assert pair[0].ping(pair[1].ip, count=10).lost == 0, "a direct pair needs no host"
    finally:
        service.container.systemctl("stop", "vnicd")
        service.settle()
    wait_until(lambda: "2 of 2" in service.container.show(HOST, "StatusText"), 10, "it runs again")


def names_of(service: Service) -> set[str]:
    return {each["name"] for each in service.call("partition.list")["partitions"]}


def test_an_attachment_outlives_a_reload_and_ends_with_its_process(service: Service, pair: Pair) -> None:
    """The confined service sees, and lets go of, the namespace that it was asked to attach."""
    blue, _ = pair
    box = ["systemd-run", "--unit=box", "unshare", "--net", "sleep", "600"]
    service.container.run(box)
    pid = service.container.show("box.service", "MainPID")
    namespace = f"/proc/{pid}/ns/net"
    wait_until(
        lambda: (
            service.container.run(["readlink", namespace]).stdout
            != service.container.run(["readlink", "/proc/1/ns/net"]).stdout
        ),
        10,
        "it has a namespace of its own",
    )
    given = ("--netns", namespace, "--address", "10.77.0.9/24", "--owner", "app=box")
    service.cli("partition", "add", "box", *given)
    assert blue.ping("10.77.0.9").lost == 0
    service.container.systemctl("reload", "vnicd")
    assert names_of(service) == {"blue", "green", "box"}
    service.container.systemctl("stop", "box")
    wait_until(lambda: names_of(service) == {"blue", "green"}, 10, "it has ended")
