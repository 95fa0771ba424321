"""A daemon whose datapath hangs is ended and started anew, also when the rest of it lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.framework.systemd.tracing import held, second_thread
from tests.framework.traffic.load import Load
from tests.framework.waiting import holds_for, wait_until
from tests.service.conftest import Pair
from tests.service.service import HOST, Service, unit

LIMIT = 3.0
"""Seconds, instead of what the units say, so that nobody has to wait for that long."""

SLACK = 12.0
"""Seconds after the watchdog's time in which systemd has ended the daemon and started it again."""


@pytest.fixture(scope="module", autouse=True)
def short_limits(service: Service) -> Iterator[None]:
    """All daemons of this module are started with them."""
    folders = [
        service.container.path(f"/run/systemd/system/{name}.d")
        for name in ("vnicd.service", "vnicd-partition@.service")
    ]
    for folder in folders:
        folder.mkdir()
        (folder / "limit.conf").write_text(f"[Service]\nWatchdogSec={LIMIT:g}\n")
    service.container.systemctl("daemon-reload")
    service.begin_anew()
    yield
    for folder in folders:
        (folder / "limit.conf").unlink()
        folder.rmdir()
    service.container.systemctl("daemon-reload")
    service.begin_anew()


def limit(service: Service, name: str) -> float:
    """The time in seconds in which a unit has to give a sign of life."""
    text = service.container.show(name, "WatchdogUSec")
    assert text.endswith("s") and "min" not in text
    return float(text.removesuffix("s"))


def wait_until_replaced(service: Service, name: str, former: int, slack: float = SLACK) -> None:
    def is_replaced() -> bool:
        is_active = service.container.show(name, "ActiveState") == "active"
        return is_active and service.main_pid(name) not in (0, former)

    wait_until(is_replaced, limit(service, name) + slack, f"systemd replaced the daemon of {name}")


@contextmanager
def traffic_over_a_new_daemon(service: Service, pair: Pair) -> Iterator[Load]:
    """Traffic to green, whose daemon systemd replaces for what is done to it inside; the stream arrives whole."""
    name, former = unit("green"), service.main_pid(unit("green"))
    with Load(*pair, "tcp", "ping") as load:
        yield load
        wait_until_replaced(service, name, former)
        load.wait_until_it_flows(10)
    load.check_content()
    assert "Watchdog timeout" in service.container.journal(f"--unit={name}")


def test_a_stopped_partition_daemon_is_replaced(service: Service, pair: Pair) -> None:
    before = service.kernel_state(pair[1])
    with traffic_over_a_new_daemon(service, pair) as load:
        load.wait_until_it_flows(5)
        service.container.run(["kill", "-STOP", str(service.main_pid(unit("green")))])
    assert service.kernel_state(pair[1]) == before


def test_a_hanging_loop_is_noticed_though_the_daemon_lives(service: Service, pair: Pair) -> None:
    """Only the thread of the loop is stopped: the main thread still runs and could go on feeding the watchdog."""
    pid = service.container.pid_here(service.main_pid(unit("green")))
    with held(pid, second_thread(pid)), traffic_over_a_new_daemon(service, pair):
        pass  # the thread is held already


def test_a_fabric_at_rest_is_left_alone(service: Service, pair: Pair) -> None:
    units = (HOST, unit("blue"), unit("green"))
    assert {limit(service, name) for name in units} == {LIMIT}
    before = [service.main_pid(name) for name in units]
    seconds = max(limit(service, name) for name in units) * 1.5
    holds_for(lambda: [service.main_pid(name) for name in units] == before, seconds, "no daemon is restarted")


def test_a_stopped_host_is_replaced_and_direct_traffic_does_not_notice(service: Service, pair: Pair) -> None:
    former = service.main_pid(HOST)
    with Load(*pair) as load:
        load.wait_until_it_flows(5)
        service.container.run(["kill", "-STOP", str(former)])
        wait_until_replaced(service, HOST, former, SLACK + 20)
        load.wait_until_it_flows(5)
    load.check_content()
    assert (load["ping"].lost, load["udp"].lost) == (0, 0), str(load)
    service.wait_up("blue", "green")
