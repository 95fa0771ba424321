"""Which runtimes are here, and what they lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from vnicd.cli.containers import contents, places, runtimes
from vnicd.cli.containers.files import Tree
from vnicd.cli.containers.runtimes import Runtime


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    versions = {"podman": "4.3.1", "containerd": "1.6.20~ds1", "dockerd": "20.10.24+dfsg1"}
    monkeypatch.setattr(runtimes, "_version", lambda program, *words: versions.get(program))
    return Tree(tmp_path)


def look(tree: Tree) -> dict[str, Runtime]:
    return {each.name: each for each in runtimes.look(tree)}


def put(tree: Tree, path: str, text: str = "") -> None:
    tree.place(path).parent.mkdir(parents=True, exist_ok=True)
    tree.place(path).write_text(text)


def whats(runtime: Runtime) -> str:
    return "; ".join(lack["what"] for lack in runtime.missing)


def test_an_empty_machine_lacks_everything(tree: Tree) -> None:
    found = look(tree)
    assert not any(each.is_ready for each in found.values())
    assert found["CRI-O"].version is None
    assert whats(found["containerd"]) == "there is no plugin vnicd; /etc/cni/net.d has no network of vnicd"
    assert whats(found["Docker"]) == "its driver does not run"
    assert found["podman"].uses == "CNI"


def test_all_is_there(tree: Tree) -> None:
    put(tree, "/opt/cni/bin/vnicd")
    put(tree, places.CONFLIST, contents.conflist("", "", [], with_portmap=True))
    put(tree, places.DOCKER_SOCKET)
    put(tree, places.CDI, contents.cdi("/opt/vnicd/preload"))
    tree.place("/opt/vnicd/preload").mkdir(parents=True)
    assert {each.name for each in runtimes.look(tree) if not each.is_ready} == {"CRI-O"}


def test_containerd_uses_only_the_first_network(tree: Tree) -> None:
    put(tree, "/opt/cni/bin/vnicd")
    put(tree, places.CONFLIST, contents.conflist("", "", [], with_portmap=True))
    put(tree, "/etc/cni/net.d/05-bridge.conf", "{}")
    found = look(tree)
    assert "05-bridge.conf comes before 10-vnicd.conflist" in whats(found["containerd"])
    assert found["podman"].is_ready


def test_a_plugin_that_leads_nowhere(tree: Tree) -> None:
    tree.place("/opt/cni/bin").mkdir(parents=True)
    tree.place("/opt/cni/bin/vnicd").symlink_to("/nowhere/at/all")
    assert "leads nowhere" in whats(look(tree)["containerd"])


def test_a_device_without_its_library(tree: Tree) -> None:
    put(tree, places.CDI, contents.cdi("/opt/vnicd/preload"))
    assert "leads to /opt/vnicd/preload" in whats(look(tree)["CDI"])
    put(tree, places.CDI, "[]")
    assert "can't be understood" in whats(look(tree)["CDI"])


@pytest.mark.parametrize(
    ("version", "lacks"), [("4.3.1", "no plugins before podman 4.5"), ("5.4.2", "no plugin vnicd")]
)
def test_podman_with_netavark(tree: Tree, monkeypatch: pytest.MonkeyPatch, version: str, lacks: str) -> None:
    monkeypatch.setattr(runtimes, "_version", lambda program, *words: version)
    put(tree, "/usr/lib/podman/netavark")
    assert lacks in whats(look(tree)["podman"])


@pytest.mark.parametrize(
    ("text", "expected"), [("4.3.1", (4, 3, 1)), ("20.10.24+dfsg1", (20, 10, 24)), ("?", ()), ("5.", (5,))]
)
def test_versions_as_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert runtimes.numbers(text) == expected
