"""The Debian package: installed, upgraded under traffic, removed and purged, in the order of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.framework.traffic.load import Load
from tests.framework.waiting import wait_until
from tests.service.conftest import Boot
from tests.service.install.debs import LATER, packages
from tests.service.remains import BACKUPS, PASSING, running, written
from tests.service.service import CONFIG, DECLARED, HOST, Service, unit

pytestmark = pytest.mark.timeout(900)
"""Seconds. The first test builds two packages, with all compiled modules."""

DATABASES = ("var/lib/apt", "var/lib/dpkg", "var/lib/PackageKit")
"""Where apt, dpkg and what apt tells of its changes keep what they know."""

PARTS = (
    "/lib/systemd/system/vnicd.service",
    "/lib/systemd/system/vnicd.socket",
    "/lib/systemd/system/vnicd-partition@.service",
    "/lib/systemd/system/vnicd-network@.service",
    "/usr/lib/sysusers.d/vnicd.conf",
    "/usr/lib/vnicd/libexec/vnicd-cni",
    "/usr/lib/vnicd/preload/lib/libvnicd-sockets.so",
    "/usr/lib/vnicd/preload/$LIB/libvnicd-sockets.so",
    "/usr/share/man/man1/vnicctl.1.gz",
    "/usr/share/man/man8/vnicd.8.gz",
    "/usr/share/man/man5/vnicd.toml.5.gz",
    "/usr/share/bash-completion/completions/vnicctl",
    "/usr/share/zsh/vendor-completions/_vnicctl",
    "/usr/share/fish/vendor_completions.d/vnicctl.fish",
)


def apt(service: Service, *argv: str) -> str:
    """What apt-get says, which asks nobody and has no network."""
    settings = ["env", "DEBIAN_FRONTEND=noninteractive"]
    return service.container.run([*settings, "apt-get", "--yes", *argv], timeout=300).stdout


@pytest.fixture(scope="module")
def debs(wheels: Path) -> tuple[Path, Path]:
    return packages(wheels)


@pytest.fixture(scope="module")
def before() -> dict[str, object]:
    """What was there before the installation, filled by `fresh`."""
    return {}


@pytest.fixture(scope="module")
def fresh(boot: Boot, debs: tuple[Path, Path], before: dict[str, object]) -> Iterator[Service]:
    """The package just installed, on a machine whose policy lets packages start their services."""
    service = boot()
    service.container.run(["rm", "-f", "/usr/sbin/policy-rc.d"])
    before.update(written=written(service), running=running(service))
    apt(service, "install", str(debs[0]))
    yield service


def test_an_installation_runs_an_empty_fabric(fresh: Service) -> None:
    assert fresh.cli("--version").stdout.startswith("vnicctl ")
    missing = [name for name in PARTS if not fresh.container.path(name).is_file()]
    assert not missing
    assert fresh.container.run(["getent", "group", "vnicd"]).stdout
    assert fresh.container.systemctl("is-enabled", HOST, "vnicd.socket").split() == ["enabled", "enabled"]
    assert fresh.call("partition.list") == {"partitions": []}
    assert fresh.units() == {HOST: "active"}


def test_systemd_and_dpkg_find_nothing_wrong(fresh: Service) -> None:
    done = fresh.container.run(["systemd-analyze", "verify", HOST, "vnicd.socket", unit("any")])
    assert "vnicd" not in done.stderr
    assert fresh.container.run(["dpkg", "--verify", "vnicd"]).stdout == ""


def test_declared_partitions_ping(fresh: Service) -> None:
    blue, green = fresh.settle()
    assert fresh.units() == {HOST: "active", unit("blue"): "active", unit("green"): "active"}
    wait_until(lambda: blue.ping(fresh.remote().ip).lost == 0, 5, "the remote end answers blue")
    assert green.ping(blue.ip).lost == 0


def test_an_upgrade_restarts_the_host_and_partitions_go_on(fresh: Service, debs: tuple[Path, Path]) -> None:
    """A sender that apt keeps from its processor may be refused datagrams by its kernel, which counts as a loss."""
    pair = fresh.settle()
    units = [unit("blue"), unit("green")]
    host, before = fresh.main_pid(HOST), [fresh.main_pid(name) for name in units]
    with Load(*pair) as load:
        load.wait_until_it_flows(5)
        apt(fresh, "install", str(debs[1]))
        load.wait_until_it_flows(5)
    load.check_content()
    assert load["ping"].lost == 0, str(load)
    assert load["udp"].lost < load["udp"].sent / 100, str(load)
    assert fresh.main_pid(HOST) not in (0, host)
    assert fresh.call("fabric.ping")["version"] == LATER
    assert fresh.container.path(CONFIG).read_text() == DECLARED
    fresh.wait_up("blue", "green")
    assert [fresh.main_pid(name) for name in units] == before
    assert fresh.path(*pair) == "direct"


def test_removing_ends_everything_and_keeps_the_configuration(
    fresh: Service, before: dict[str, object]
) -> None:
    fresh.cli("containers", "install", "--conflist")  # it goes as well: the purge leaves nothing
    apt(fresh, "remove", "vnicd")
    earlier = before["running"]
    assert isinstance(earlier, dict)

    def left() -> dict[str, str]:
        """Without the units' names, which links in /etc keep until the purge, and the user."""
        now = running(fresh)
        return {name: now[name] for name in earlier.keys() - {"units", "users"} if now[name] != earlier[name]}

    with suppress(AssertionError):
        wait_until(lambda: not left(), 5, "nothing runs")
    assert left() == {}
    assert fresh.units() == {}
    assert fresh.container.path(CONFIG).read_text() == DECLARED
    assert not fresh.container.path("/usr/lib/vnicd").exists()


def test_purging_leaves_nothing(fresh: Service, before: dict[str, object]) -> None:
    apt(fresh, "purge", "vnicd")
    assert running(fresh) == before["running"]
    earlier = before["written"]
    assert isinstance(earlier, dict)
    now = written(fresh)
    changed = {name for name in now if now[name] != earlier.get(name, b"absent")} - BACKUPS
    assert {name for name in changed if not name.startswith(DATABASES)} == set()
    assert set(earlier) - set(now) - PASSING == set()
