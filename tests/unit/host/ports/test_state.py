"""state.json: what is saved is loaded again, a write that fails leaves the old one, damage is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vnicd.errors import Resources, VnicdError
from vnicd.host.ports.state_file import Saved, has_units, load, save
from vnicd.kernel.netns import Home
from vnicd.spec.partition import make_partition
from vnicd.spec.uplink import make_uplink

BLUE = Saved(
    make_partition("blue", ["10.77.0.1/24", "fd00::1/64"], "02:00:00:00:00:01", 9000), 1, False, 4001, 77
)
GREEN = Saved(
    make_partition("green", None, "02:00:00:00:00:02", None, "eth1", "/proc/77/ns/net", owner=["app=shop"]),
    7,
    True,
    home=Home(4, 4026532001, 9),
)

UPLINK = make_uplink("eth1", "nat", publish=["8080:web:80"], propagate_link=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_what_is_saved_is_loaded_again(path: Path) -> None:
    save(path, [BLUE, GREEN])
    assert load(path) == ([BLUE, GREEN], None)
    save(path, [GREEN], UPLINK)
    assert load(path) == ([GREEN], UPLINK)
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("units", [True, False])
def test_it_says_what_kind_of_daemons_there_are(path: Path, units: bool) -> None:
    save(path, [BLUE], units=units)
    assert has_units(path) is units
    assert load(path) == ([BLUE], None)


@pytest.mark.parametrize("text", ["", "[", "[]", "7", "{}", '{"units": 1}', "\xff"])
def test_damage_says_nothing_of_units(path: Path, text: str) -> None:
    assert not has_units(path)
    path.write_bytes(text.encode("latin-1"))
    assert not has_units(path)


def test_the_state_is_not_for_all(path: Path) -> None:
    save(path, [BLUE])
    assert path.stat().st_mode & 0o7777 == 0o640


def test_no_state_is_an_empty_fabric(path: Path) -> None:
    assert load(path) == ([], None)
    save(path, [])
    assert load(path) == ([], None)


def test_the_state_is_replaced_and_never_half_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, [BLUE])

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Resources, match="No space left"):
        save(path, [BLUE, GREEN])
    assert load(path) == ([BLUE], None)
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(Resources, match="can't be written"):
        save(tmp_path / "gone" / "state.json", [BLUE])


def text_with(**changes: object) -> str:
    """A state file in which one partition's item is changed."""
    item = {"spec": BLUE.spec.to_json(), "port": 1, "unfinished": False, "pid": 0, "started": 0}
    return json.dumps({"version": 1, "partitions": [{**item, **changes}]})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", "{}", '{"partitions": 7}', '{"partitions": [7]}', '{"partitions": [{}]}',
     text_with(unknown=1), text_with(spec=None), text_with(spec={}), text_with(spec={"name": "a/b"}),
     text_with(spec={"name": "a", "mtu": 7}), text_with()[:-9],
     '{"uplink": 7, "partitions": []}', '{"uplink": {"mode": "nat"}, "partitions": []}'],
)  # fmt: skip
def test_a_damaged_state_is_told(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(VnicdError):
        load(path)


def test_a_state_that_is_no_text_is_told(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VnicdError, match="damaged"):
        load(path)


@pytest.mark.parametrize("spec", [{"name": "a/b"}, {"name": "a", "mtu": 7}])
def test_a_spec_that_is_damaged_names_the_file(path: Path, spec: dict[str, object]) -> None:
    """Otherwise `vnicctl up` says that some name is wrong, which nobody has typed."""
    path.write_text(text_with(spec=spec))
    with pytest.raises(VnicdError, match="damaged"):
        load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"port": "1"},
        {"port": 0},
        {"port": 256},
        {"port": None},
        {"port": 1.5},
        {"port": True},
        {"pid": "x"},
        {"pid": 2**70},
        {"pid": -1},
        {"unfinished": 1},
    ],
)
def test_a_port_or_pid_that_can_not_be_is_told(path: Path, changes: dict[str, object]) -> None:
    """They go on to the directory and to pidfd_open, where they end in a traceback."""
    path.write_text(text_with(**changes))
    with pytest.raises(VnicdError, match="damaged"):
        load(path)


def test_a_state_nested_too_deep_is_told(path: Path) -> None:
    path.write_text('{"partitions": ' + "[" * 100_000)
    with pytest.raises(VnicdError, match="damaged"):
        load(path)


@pytest.mark.parametrize("home", [[1], [1, 2, "3"], 7, {"a": 1}])
def test_a_home_that_is_none_is_told(path: Path, home: object) -> None:
    path.write_text(text_with(home=home))
    with pytest.raises(VnicdError, match="damaged"):
        load(path)


@pytest.mark.parametrize("again", [{"port": 2}, {"port": 1}], ids=["name", "port"])
def test_what_is_there_twice_is_told(path: Path, again: dict[str, int]) -> None:
    name = "blue" if again["port"] == 2 else "other"
    spec = make_partition(name, None, "02:00:00:00:00:03")
    save(path, [BLUE, Saved(spec, again["port"], False)])
    with pytest.raises(VnicdError, match="twice"):
        load(path)
