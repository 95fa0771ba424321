"""The seed of a fabric's MACs: this machine's for a new fabric, and the one that a running fabric has."""

from __future__ import annotations

from pathlib import Path

import pytest

from vnicd.host.ports import mac_seed
from vnicd.host.ports.state_file import save

ID = "0123456789abcdef0123456789abcdef\n"


def test_it_is_the_machines_and_does_not_tell_its_id(tmp_path: Path) -> None:
    first, other = tmp_path / "1", tmp_path / "2"
    first.write_text(ID)
    other.write_text(ID.replace("0", "1"))
    assert mac_seed.make(first) == mac_seed.make(first) != mac_seed.make(other)
    assert mac_seed.make(first) not in ID


@pytest.mark.parametrize("text", [None, "", "uninitialized\n"])
def test_a_machine_without_an_id_has_a_random_one(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "machine-id"
    if text is not None:
        path.write_text(text)
    assert mac_seed.make(path) != mac_seed.make(path)


def test_a_running_fabric_keeps_its_own(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save(path, [], mac_seed="abc")
    assert mac_seed.of_state(path) == "abc"


def test_a_state_that_has_none_is_of_a_version_without(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"version": 1, "partitions": []}')
    assert mac_seed.of_state(path) == ""


@pytest.mark.parametrize("text", ["", "[]", '{"mac_seed": 7}', "[" * 100_000])
def test_a_damaged_state_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    assert mac_seed.of_state(path)
