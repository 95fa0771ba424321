"""Files that are put all or none, and taken away as far as they are the same."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from vnicd.cli.containers.files import MANIFEST, Item, Tree
from vnicd.errors import Exists, Invalid

PLUGIN = Item("/opt/cni/bin/vnicd", "plugin", target="/opt/vnicd/libexec/vnicd-cni")
DEVICE = Item("/etc/cdi/vnicd.json", "device", b"{}\n")
ITEMS = [PLUGIN, DEVICE]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


def names(tree: Tree) -> set[str]:
    return {str(path.relative_to(tree.root)) for path in tree.root.rglob("*")}


def test_what_was_put_is_taken_away_with_its_folders(tree: Tree) -> None:
    assert tree.install(ITEMS) == {PLUGIN.path: "new", DEVICE.path: "new"}
    assert str(tree.place(PLUGIN.path).readlink()) == PLUGIN.target
    assert tree.place(DEVICE.path).read_bytes() == DEVICE.content
    assert tree.uninstall() == {PLUGIN.path: "removed", DEVICE.path: "removed"}
    assert names(tree) == set()


def test_folders_and_files_of_others_stay(tree: Tree) -> None:
    other = tree.place("/opt/cni/bin/bridge")
    other.parent.mkdir(parents=True)
    other.touch()
    tree.install(ITEMS)
    tree.place("/etc/cdi/nvidia.json").touch()
    tree.uninstall()
    expected = {
        "opt",
        "opt/cni",
        "opt/cni/bin",
        "opt/cni/bin/bridge",
        "etc",
        "etc/cdi",
        "etc/cdi/nvidia.json",
    }
    assert names(tree) == expected


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_somebody_else_has_put_is_an_error_that_changes_nothing(tree: Tree, kind: str) -> None:
    place = tree.place(DEVICE.path)
    place.parent.mkdir(parents=True)
    {"file": place.touch, "link": lambda: place.symlink_to("/nowhere"), "folder": place.mkdir}[kind]()
    before = names(tree)
    with pytest.raises(Exists, match="is there already"):
        tree.install(ITEMS)
    assert names(tree) == before


def test_the_same_by_somebody_else_is_left_to_them(tree: Tree) -> None:
    place = tree.place(DEVICE.path)
    place.parent.mkdir(parents=True)
    place.write_bytes(DEVICE.content)
    assert tree.install(ITEMS) == {PLUGIN.path: "new", DEVICE.path: "same"}
    assert DEVICE.path not in tree.uninstall()
    assert place.exists()


def test_a_link_that_leads_to_the_same_is_left_alone(tree: Tree) -> None:
    """A package has enabled a unit by its other path."""
    unit = tree.place("/usr/lib/x.socket")
    unit.parent.mkdir(parents=True)
    unit.touch()
    tree.place("/lib").symlink_to("usr/lib")
    place = tree.place("/etc/wants/x.socket")
    place.parent.mkdir(parents=True)
    place.symlink_to("/lib/x.socket")
    assert tree.install([Item("/etc/wants/x.socket", "unit", target="/usr/lib/x.socket")]) == {
        "/etc/wants/x.socket": "same"
    }
    assert tree.uninstall() == {}
    assert place.is_symlink()


def test_a_second_time_renews_what_has_changed(tree: Tree) -> None:
    tree.install(ITEMS)
    newer = Item(DEVICE.path, "device", b"{1}\n")
    assert tree.install([PLUGIN, newer]) == {PLUGIN.path: "same", DEVICE.path: "changed"}
    assert tree.place(DEVICE.path).read_bytes() == newer.content
    tree.uninstall()
    assert names(tree) == set()


def test_what_somebody_has_changed_is_kept_and_not_renewed(tree: Tree) -> None:
    tree.install(ITEMS)
    tree.place(DEVICE.path).write_text("mine")
    with pytest.raises(Exists):
        tree.install([Item(DEVICE.path, "device", b"{1}\n")])
    assert tree.uninstall() == {PLUGIN.path: "removed", DEVICE.path: "kept"}
    assert tree.place(DEVICE.path).read_text() == "mine"
    assert tree.uninstall() == {}


def test_what_is_gone_already_is_no_error(tree: Tree) -> None:
    tree.install(ITEMS)
    tree.place(PLUGIN.path).unlink()
    assert tree.uninstall()[PLUGIN.path] == "gone"
    assert names(tree) == set()


def test_a_dry_run_changes_nothing(tree: Tree) -> None:
    assert tree.install(ITEMS, dry_run=True) == {PLUGIN.path: "new", DEVICE.path: "new"}
    assert not tree.root.exists()
    tree.install(ITEMS)
    before = names(tree)
    assert tree.uninstall(dry_run=True)[PLUGIN.path] == "removed"
    assert names(tree) == before


def test_a_full_disk_leaves_nothing_half_way(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is there already when the file can't be written."""
    tree.install([])

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        tree.install(ITEMS)
    monkeypatch.undo()
    assert not tree.place(PLUGIN.path).is_symlink()
    assert not tree.place(DEVICE.path).exists()
    assert tree.uninstall() == {}
    assert names(tree) == set()


def test_a_damaged_manifest_is_named(tree: Tree) -> None:
    tree.place(MANIFEST).parent.mkdir(parents=True)
    for text in ("", "[]", '{"files": []}'):
        tree.place(MANIFEST).write_text(text)
        with pytest.raises(Invalid, match="is damaged"):
            tree.uninstall()
