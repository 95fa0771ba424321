"""Installing: what is there afterwards, what an upgrade keeps, and that uninstalling leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.framework.waiting import wait_until
from tests.service.conftest import Boot
from tests.service.remains import BACKUPS, PASSING, running, written
from tests.service.service import CONFIG, DECLARED, HOST, Service, unit

INSTALLED = {"units", "unit files", "users"}
"""What of `running` is there as soon as vnicd is installed."""

SOCKET = "vnicd.socket"


@pytest.fixture(scope="module")
def before() -> dict[str, object]:
    """What was there before the installation, filled by `fresh`."""
    return {}


@pytest.fixture(scope="module")
def fresh(boot: Boot, wheels: Path, before: dict[str, object]) -> Iterator[Service]:
    """vnicd just installed; the tests of this module go through its life in their order."""
    service = boot()
    before.update(written=written(service), running=running(service))
    service.install("--wheels", str(wheels))
    yield service


def test_an_installation_has_all_its_parts_and_starts_nothing(fresh: Service) -> None:
    for name in ("/usr/local/bin/vnicd", "/usr/local/bin/vnicctl"):
        assert str(fresh.container.path(name).readlink()) == f"/opt/vnicd/bin/{Path(name).name}"
    assert fresh.cli("--version").stdout.startswith("vnicctl ")
    assert fresh.container.path(CONFIG).stat().st_mode & 0o777 == 0o644
    for page in ("man1/vnicctl.1.gz", "man8/vnicd.8.gz", "man5/vnicd.toml.5.gz"):
        assert fresh.container.path(f"/usr/local/share/man/{page}").stat().st_size
    assert fresh.container.run(["getent", "group", "vnicd"]).stdout
    user = fresh.container.run(["getent", "passwd", "vnicd"]).stdout
    assert user.strip().endswith("/usr/sbin/nologin")
    assert fresh.container.show(HOST, "LoadState") == "loaded"
    assert fresh.container.show(unit("any"), "LoadState") == "loaded"
    assert fresh.container.systemctl("is-enabled", "vnicd", check=False).strip() == "disabled"
    assert fresh.units() == {}


def test_systemd_finds_nothing_wrong_in_the_units(fresh: Service) -> None:
    done = fresh.container.run(["systemd-analyze", "verify", HOST, "vnicd.socket", unit("any")])
    assert "vnicd" not in done.stderr


def test_the_configuration_as_installed_starts_an_empty_fabric(fresh: Service) -> None:
    fresh.container.systemctl("enable", "--now", "vnicd")
    assert fresh.container.systemctl("is-enabled", "vnicd").strip() == "enabled"
    assert fresh.container.systemctl("is-active", "vnicd").strip() == "active"
    assert fresh.call("partition.list") == {"partitions": []}
    assert fresh.units() == {HOST: "active"}


def test_an_upgrade_keeps_the_configuration(fresh: Service, wheels: Path) -> None:
    fresh.declare(DECLARED)
    output = fresh.install("--wheels", str(wheels))
    assert "systemctl restart vnicd" in output
    assert fresh.container.path(CONFIG).read_text() == DECLARED


def test_down_stops_the_units_and_leaves_nothing(fresh: Service, before: dict[str, object]) -> None:
    """Only what is installed is still there; nobody starts anything again, and a client does not either."""
    fresh.settle()
    fresh.cli("down")
    earlier = before["running"]
    assert isinstance(earlier, dict)

    def left() -> dict[str, tuple[str, str]]:
        now = running(fresh)
        return {
            name: (now[name], text)
            for name, text in earlier.items()
            if name not in INSTALLED and now[name] != text
        }

    with suppress(AssertionError):
        wait_until(lambda: not left(), 5, "nothing is left")
    assert left() == {}
    states = {name: fresh.container.show(name, "ActiveState") for name in (HOST, SOCKET, unit("blue"))}
    assert states == dict.fromkeys(states, "inactive")
    assert fresh.container.systemctl("list-units", "--failed", "--no-legend") == ""
    done = fresh.cli("status", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert fresh.units() == {}


def test_down_a_second_time_is_told(fresh: Service) -> None:
    done = fresh.cli("down", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr


def test_a_start_after_down_brings_all_back(fresh: Service) -> None:
    fresh.container.systemctl("start", "vnicd")
    fresh.wait_up("blue", "green")
    assert fresh.units() == {HOST: "active", unit("blue"): "active", unit("green"): "active"}
    assert fresh.container.show(SOCKET, "ActiveState") == "active"
    blue, green = fresh.partition("blue"), fresh.partition("green")
    wait_until(lambda: blue.ping(green.ip).lost == 0, 5, "green answers blue")
    wait_until(lambda: blue.ping(fresh.remote().ip).lost == 0, 5, "the remote end answers blue")


def test_what_was_broken_off_is_taken_up(fresh: Service, wheels: Path) -> None:
    """An upgrade between the two renames of one that can't exchange folders, and another in the middle of a file."""
    manifest = fresh.container.path("/opt/vnicd/manifest").read_text()
    fresh.container.run(["mv", "-T", "/opt/vnicd", "/opt/vnicd.old"])
    fresh.install("--wheels", str(wheels))
    assert fresh.container.path("/opt/vnicd/manifest").read_text() == manifest
    assert not fresh.container.path("/opt/vnicd.old").exists()
    fresh.container.path("/usr/local/bin/vnicctl.vnicd-new").write_text("half a file")


def test_uninstalling_leaves_nothing(fresh: Service, before: dict[str, object]) -> None:
    fresh.settle()
    assert fresh.units() == {HOST: "active", unit("blue"): "active", unit("green"): "active"}
    fresh.cli("network", "add", "side", "--uplink", "internal", "--subnet", "10.88.0.0/24")
    fresh.cli("--network", "side", "partition", "add", "job")
    assert "nft" in fresh.container.run(["sh", "-c", "nft list tables | sed 's/^table/nft/'"]).stdout
    fresh.install("--uninstall")
    with suppress(AssertionError):
        wait_until(lambda: running(fresh) == before["running"], 5, "nothing runs")
    assert running(fresh) == before["running"]
    left = written(fresh)
    earlier = before["written"]
    assert isinstance(earlier, dict)
    assert {name for name in left if left[name] != earlier.get(name, b"absent")} - BACKUPS == set()
    assert set(earlier) - set(left) - PASSING == set()


def test_uninstalling_twice_is_no_error(fresh: Service) -> None:
    assert "not installed" in fresh.install("--uninstall")
