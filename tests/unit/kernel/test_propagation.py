"""Where namespaces get their names: the groups of the mount that a path is in, and whose mounts all others see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vnicd.kernel import netns

MACHINE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
42 30 0:25 /netns /run/netns rw shared:7 - tmpfs tmpfs rw
43 42 0:4 net:[4026532465] /run/netns/blue rw shared:8 - nsfs nsfs rw
44 22 0:26 / /run/netns-other rw shared:9 - tmpfs tmpfs rw
"""
EXEC = MACHINE.replace("shared:", "master:")
PRIVATE = "\n".join(line.replace(" shared:", " - was ") for line in MACHINE.splitlines())
SERVICE = MACHINE.replace("shared:", "shared:10 master:")
ELSEWHERE = MACHINE.replace("shared:", "master:9")


def in_another_namespace(table: str) -> str:
    """The same mounts with numbers of their own."""
    return "".join(f"1{line}\n" for line in table.splitlines())


@pytest.mark.parametrize(
    ("path", "groups"),
    [
        ("/run/netns", ("7", "")),
        ("/run/netns/blue", ("8", "")),
        ("/run/netn", ("5", "")),
        ("/etc/netns", ("1", "")),
    ],
)
def test_the_mount_that_a_path_is_in(path: str, groups: tuple[str, str]) -> None:
    assert netns.mount_of(MACHINE, Path(path))[2:] == groups
    assert netns.mount_of(EXEC, Path(path))[2:] == groups[::-1]


def test_a_later_mount_is_above_an_earlier_one() -> None:
    later = "50 42 0:27 / /run/netns rw - tmpfs tmpfs rw\n"
    assert netns.mount_of(MACHINE + later, Path("/run/netns")) == (50, ("0:27", "/"), "", "")


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(netns.MOUNT_NAMESPACE, raising=False)
    netns.shared_mounts.cache_clear()
    yield
    netns.shared_mounts.cache_clear()


@pytest.mark.parametrize(
    ("ours", "joined", "hidden"),
    [
        (MACHINE, False, False),
        (in_another_namespace(MACHINE), False, False),
        (in_another_namespace(EXEC), True, False),
        (in_another_namespace(SERVICE), True, False),
        (in_another_namespace(PRIVATE), False, True),
        (in_another_namespace(ELSEWHERE), False, True),
        (in_another_namespace(PRIVATE).replace("254:0 /", "254:0 /container"), False, False),
    ],
)
def test_only_mounts_that_we_hear_of_are_joined(
    monkeypatch: pytest.MonkeyPatch, ours: str, joined: bool, hidden: bool
) -> None:
    monkeypatch.setattr(netns, "_mountinfo", lambda: (ours, MACHINE))
    entered: list[str] = []
    monkeypatch.setattr(netns.netns, "join_mounts", entered.append)
    assert netns.shared_mounts() == (netns.INIT_MOUNTS if joined else "")
    assert entered == [netns.INIT_MOUNTS] * joined
    assert str(netns.mount_table()) == ("/proc/1/mountinfo" if joined else "/proc/self/mountinfo")
    assert netns.names_are_hidden() is hidden


def test_what_may_not_be_joined_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: str) -> None:
        raise PermissionError

    monkeypatch.setattr(netns, "_mountinfo", lambda: (in_another_namespace(EXEC), MACHINE))
    monkeypatch.setattr(netns.netns, "join_mounts", refused)
    assert netns.shared_mounts() == ""
    assert netns.names_are_hidden()


def test_the_variable_goes_before_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(netns.MOUNT_NAMESPACE, "/proc/7/ns/mnt")
    assert str(netns.mount_table()) == "/proc/7/mountinfo"
    assert not netns.names_are_hidden()
