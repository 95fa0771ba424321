"""Who may do what, with the users and groups of a real system."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.service.conftest import Pair
from tests.service.service import Service

READING = [
    ["status"],
    ["stats"],
    ["links"],
    ["sockets"],
    ["partition", "list"],
    ["partition", "show", "blue"],
    ["uplink", "show"],
    ["config", "export"],
]
CHANGING = [
    ["partition", "add", "red"],
    ["partition", "remove", "blue"],
    ["uplink", "clear"],
    ["uplink", "set", "nic0"],
    ["apply"],
    ["down"],
]
NOT_PERMITTED = 11


@pytest.fixture(scope="module")
def people(service: Service) -> Iterator[None]:
    """reader is in the group vnicd, stranger is not."""
    service.container.run(["useradd", "--groups", "vnicd", "reader"])
    service.container.run(["useradd", "stranger"])
    yield
    for name in ("reader", "stranger"):
        service.container.run(["userdel", name])


def run_as(service: Service, user: str, argv: list[str]) -> subprocess.CompletedProcess[str]:
    groups = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    return service.container.run([*groups, "vnicctl", *argv], check=False)


@pytest.mark.usefixtures("people")
def test_the_group_may_read(service: Service, pair: Pair) -> None:
    for argv in READING:
        done = run_as(service, "reader", argv)
        assert (done.returncode, done.stderr) == (0, ""), argv


@pytest.mark.usefixtures("people")
def test_the_group_may_not_change(service: Service, pair: Pair) -> None:
    before = service.call("config.export")
    for argv in CHANGING:
        done = run_as(service, "reader", argv)
        assert done.returncode == NOT_PERMITTED, (argv, done)
        assert "root" in done.stderr, argv
        assert len(done.stderr.strip().splitlines()) <= 2, "a line, and a hint at most"
    assert service.call("config.export") == before


@pytest.mark.usefixtures("people")
def test_others_may_not_even_connect(service: Service, pair: Pair) -> None:
    for argv in (*READING, *CHANGING):
        done = run_as(service, "stranger", argv)
        assert done.returncode == NOT_PERMITTED, (argv, done)
        assert "Traceback" not in done.stderr


def test_the_sockets_belong_to_the_group(service: Service, pair: Pair) -> None:
    found = service.container.run(["stat", "-c", "%U:%G %a", "/run/vnicd/control.sock"]).stdout
    assert found.strip() == "root:vnicd 660"
    found = service.container.run(["stat", "-c", "%U:%G %a", "/run/vnicd/partition.sock"]).stdout
    assert found.strip() == "root:vnicd 660"
