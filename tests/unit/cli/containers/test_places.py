"""Where things go, and what is in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vnicd.cli.containers import contents, places
from vnicd.cli.containers.files import Tree
from vnicd.errors import Invalid


def write(tree: Tree, path: str, text: str = "") -> None:
    tree.place(path).parent.mkdir(parents=True, exist_ok=True)
    tree.place(path).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_network_with_addresses_of_its_own() -> None:
    data = json.loads(contents.conflist("", "", [], with_portmap=True))
    assert (data["cniVersion"], data["name"]) == ("1.0.0", "vnicd")
    ours, portmap = data["plugins"]
    assert ours["type"] == "vnicd" and not {"ipam", "network", "runtimeDir"} & set(ours)
    assert portmap == {"type": "portmap", "capabilities": {"portMappings": True}}


def test_a_network_with_addresses_of_host_local() -> None:
    subnets = ["10.88.0.0/24", "FD00::/64"]
    (ours,) = json.loads(contents.conflist("fast", "/run/x", subnets, with_portmap=False))["plugins"]
    assert (ours["network"], ours["runtimeDir"]) == ("fast", "/run/x")
    ranges = [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00::/64"}]]
    assert ours["ipam"] == {"type": "host-local", "ranges": ranges}


@pytest.mark.parametrize("text", ["", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/31", "web"])
def test_what_is_no_subnet(text: str) -> None:
    with pytest.raises(Invalid):
        contents.subnet(text)


def test_the_device_mounts_the_library_where_its_variable_says() -> None:
    data = json.loads(contents.cdi("/usr/lib/vnicd/preload"))
    assert data["kind"] == "vnicd.io/direct"
    (device,) = data["devices"]
    (mount,), (variable,) = (device["containerEdits"][key] for key in ("mounts", "env"))
    assert mount["hostPath"] == "/usr/lib/vnicd/preload"
    assert "ro" in mount["options"]
    assert variable == f"LD_PRELOAD={mount['containerPath']}/$LIB/libvnicd-sockets.so"


def test_netavark_has_its_plugin_where_it_looks(tree: Tree) -> None:
    assert places.netavark_folder(tree) == "/usr/local/libexec/netavark"
    tree.place("/usr/lib/netavark").mkdir(parents=True)
    assert places.netavark_folder(tree) == "/usr/lib/netavark"
    write(tree, "/usr/share/containers/containers.conf", '[network]\nnetavark_plugin_dirs = ["/a", "/b"]\n')
    assert places.netavark_folder(tree) == "/a"
    write(tree, "/etc/containers/containers.conf.d/9.conf", '[network]\nnetavark_plugin_dirs = ["/c"]\n')
    assert places.netavark_folder(tree) == "/c"


@pytest.mark.parametrize("text", ["network = 1", "[network]\nnetavark_plugin_dirs = 7", "nonsense"])
def test_a_configuration_that_makes_no_sense_is_left_out(tree: Tree, text: str) -> None:
    write(tree, "/etc/containers/containers.conf", text)
    assert places.netavark_folder(tree) == "/usr/local/libexec/netavark"


def test_the_backend_of_podman(tree: Tree) -> None:
    assert places.podman_backend(tree) == "cni"
    write(tree, "/usr/lib/podman/netavark")
    assert places.podman_backend(tree) == "netavark"
    write(tree, places.PODMAN_BACKEND, "cni")
    assert places.podman_backend(tree) == "cni"
    write(tree, "/etc/containers/containers.conf", '[network]\nnetwork_backend = "netavark"')
    assert places.podman_backend(tree) == "netavark"


def test_what_goes_where(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "executable", lambda: "/opt/vnicd/libexec/vnicd-cni")
    monkeypatch.setattr(places, "preload_folder", lambda: "/opt/vnicd/preload")
    write(tree, "/usr/lib/cni/portmap")
    write(tree, "/lib/systemd/system/vnicd-docker.socket")
    found = {item.path: item for item in places.items(tree, places.Wishes(conflist=True))}
    assert set(found) == {
        "/opt/cni/bin/vnicd",
        "/usr/lib/cni/vnicd",
        "/usr/local/libexec/netavark/vnicd",
        "/etc/cdi/vnicd.json",
        "/etc/systemd/system/sockets.target.wants/vnicd-docker.socket",
        "/etc/cni/net.d/10-vnicd.conflist",
    }
    assert b"portmap" in found["/etc/cni/net.d/10-vnicd.conflist"].content
    assert "/etc/cni/net.d/10-vnicd.conflist" not in {
        item.path for item in places.items(tree, places.Wishes())
    }


def test_copies_need_nothing_of_this_machine(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_bytes(b"ELF")
    monkeypatch.setattr(places, "executable", lambda: str(plugin))
    monkeypatch.setattr(places, "preload_folder", lambda: "/opt/vnicd/preload")
    found = {item.path: item for item in places.items(tree, places.Wishes(copies=True))}
    ours = found["/opt/cni/bin/vnicd"]
    assert (ours.content, ours.target, ours.mode) == (b"ELF", "", 0o755)
    (mount,) = json.loads(found[places.CDI].content)["devices"][0]["containerEdits"]["mounts"]
    assert any(path.startswith(f"{mount['hostPath']}/lib/") for path in found)
