"""Who is in a namespace: here in that of the tests themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vnicd.host.partitions.attached import tenants
from vnicd.host.partitions.attached.tenants import Tenancy
from vnicd.kernel import netns

HERE = netns.identity("/proc/self/ns/net")
NOWHERE = (0, 7)


def test_a_namespace_with_processes_has_a_witness() -> None:
    assert HERE is not None
    found = tenants.look({HERE, NOWHERE})
    assert tenants.whereabouts(found[HERE].pid) == HERE
    assert not found[HERE].is_vacant
    assert found[NOWHERE] == Tenancy()
    assert found[NOWHERE].is_vacant


def test_the_processes_in_a_namespace() -> None:
    assert HERE is not None
    found = tenants.inhabitants({HERE: "here", NOWHERE: "nowhere"})
    assert list(found) == ["here"]
    assert os.getpid() in found["here"]


def test_paths_lead_to_the_namespace() -> None:
    assert HERE is not None
    assert f"/proc/{os.getpid()}/ns/net" in list(tenants.paths(HERE))
    assert not list(tenants.paths(NOWHERE))


def test_a_name_is_found_in_the_table_of_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
        "36 25 0:4 net:[1] /run/netns/a\\040b rw shared:1 - nsfs nsfs rw\n"
        "37 25 0:4 mnt:[4026532247] /run/mnt rw - nsfs nsfs rw\n"
    )
    monkeypatch.setattr(netns, "mount_table", lambda: table)
    place = (os.makedev(0, 4), 1)
    assert tenants.look({place}) == {place: Tenancy(is_named=True)}
    assert list(tenants.paths(place)) == ["/run/netns/a b"]


def test_without_the_table_there_are_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "mount_table", lambda: tmp_path / "none")
    assert tenants.look({NOWHERE})[NOWHERE].is_vacant
