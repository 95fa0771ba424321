"""Where container runtimes look for plugins, networks and devices, and what of ours belongs there."""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vnicd
from vnicd.cli import library
from vnicd.cli.containers import contents
from vnicd.cli.containers.files import Item, Tree
from vnicd.config import UNIT_FOLDERS
from vnicd.errors import Unsupported

EXECUTABLE = "libexec/vnicd-cni"
"""Below the folder of the installation, or in a tree below the package."""

CNI_BIN = "/opt/cni/bin"
CNI_BIN_OF_DEBIAN = "/usr/lib/cni"
"""Where Debian's packages have the plugins of CNI, and its podman looks too."""

CNI_NETWORKS = "/etc/cni/net.d"
CONFLIST = f"{CNI_NETWORKS}/10-vnicd.conflist"

CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
CDI = f"{CDI_FOLDERS[0]}/vnicd.json"

NETAVARK_FOLDERS = (
    "/usr/local/libexec/netavark",
    "/usr/libexec/netavark",
    "/usr/local/lib/netavark",
    "/usr/lib/netavark",
)
CNI_FOLDERS_OF_PODMAN = (
    "/usr/local/libexec/cni",
    "/usr/libexec/cni",
    "/usr/local/lib/cni",
    CNI_BIN_OF_DEBIAN,
    CNI_BIN,
)
"""What podman looks through if its configuration names no folders."""

NETAVARK_PROGRAMS = (
    "/usr/local/libexec/podman/netavark",
    "/usr/local/lib/podman/netavark",
    "/usr/libexec/podman/netavark",
    "/usr/lib/podman/netavark",
)
PODMAN_BACKEND = "/var/lib/containers/storage/defaultNetworkBackend"
"""Where podman notes which backend it has chosen."""

CONTAINERS_CONF = ("/usr/share/containers/containers.conf", "/etc/containers/containers.conf")

PRELOAD_OF_TREE = "/var/lib/vnicd/preload"
"""Where the library is laid out for a vnicd that was not installed but built in its tree."""

DOCKER_SOCKET_UNIT = "vnicd-docker.socket"
DOCKER_SOCKET = "/run/docker/plugins/vnicd.sock"
WANTED_SOCKETS = "/etc/systemd/system/sockets.target.wants"


@dataclass(frozen=True)
class Wishes:
    """What `install` was asked for beside what it always puts."""

    conflist: bool = False
    subnets: Sequence[str] = ()
    network: str = ""
    runtime_dir: str = ""
    copies: bool = False
    """Files of vnicd itself as copies, for a file system where vnicd is not."""


def executable() -> str:
    """Where the plugin is; Unsupported when it was not built."""
    own = (
        Path(vnicd.__file__).resolve().with_name(EXECUTABLE.split("/", maxsplit=1)[0]) / Path(EXECUTABLE).name
    )
    for place in (Path(sys.prefix, EXECUTABLE), own):
        if place.is_file():
            return str(place)
    raise Unsupported(f"there is no {own}", "build it with: scripts/setup")


def items(tree: Tree, wishes: Wishes) -> list[Item]:
    """All that belongs into a file system, in the order in which people are told."""
    folders = dict.fromkeys(cni_folders(tree), "CNI plugin") | {netavark_folder(tree): "netavark plugin"}
    preload = PRELOAD_OF_TREE if wishes.copies else preload_folder()
    found = [_plugin(f"{folder}/{contents.PLUGIN}", what, wishes.copies) for folder, what in folders.items()]
    if preload == PRELOAD_OF_TREE:
        found += _preload()
    found.append(Item(CDI, "CDI device vnicd.io/direct=on", contents.cdi(preload).encode()))
    if unit := docker_unit(tree):
        found.append(Item(f"{WANTED_SOCKETS}/{DOCKER_SOCKET_UNIT}", "Docker plugin, at boot", target=unit))
    if wishes.conflist or wishes.subnets:
        portmap = any(tree.place(f"{folder}/portmap").exists() for folder in (CNI_BIN, CNI_BIN_OF_DEBIAN))
        text = contents.conflist(wishes.network, wishes.runtime_dir, wishes.subnets, portmap)
        found.append(Item(CONFLIST, "CNI network", text.encode()))
    return found


def _plugin(path: str, purpose: str, is_copy: bool) -> Item:
    plugin = executable()
    if is_copy:
        return Item(path, purpose, Path(plugin).read_bytes(), mode=0o755)
    return Item(path, purpose, target=plugin)


def cni_folders(tree: Tree) -> list[str]:
    return [CNI_BIN, *([CNI_BIN_OF_DEBIAN] if tree.place(CNI_BIN_OF_DEBIAN).is_dir() else [])]


def netavark_folder(tree: Tree) -> str:
    """The first that is there of those where netavark looks, or the first of all."""
    folders = podman_network(tree).get("netavark_plugin_dirs") or NETAVARK_FOLDERS
    return next((folder for folder in folders if tree.place(folder).is_dir()), folders[0])


def podman_network(tree: Tree) -> dict[str, Any]:
    """The table `network` of podman's configuration; what can't be read is left out, as podman itself says so."""
    found: dict[str, Any] = {}
    for path in _configurations(tree):
        try:
            data = tomllib.loads(path.read_text())
        except (OSError, ValueError):
            continue
        table = data.get("network")
        found |= table if isinstance(table, dict) else {}
    lists = ("netavark_plugin_dirs", "cni_plugin_dirs")
    return {key: value for key, value in found.items() if key not in lists or _is_list_of_paths(value)}


def podman_backend(tree: Tree) -> str:
    """`cni` or `netavark`, as podman chooses it. Podman itself is not asked, as it would make its folders then."""
    configured = podman_network(tree).get("network_backend")
    if configured in ("cni", "netavark"):
        return str(configured)
    try:
        return tree.place(PODMAN_BACKEND).read_text().strip()
    except OSError:
        has_netavark = any(tree.place(path).exists() for path in NETAVARK_PROGRAMS)
        return "netavark" if has_netavark else "cni"


def _is_list_of_paths(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each.startswith("/") for each in value)


def _configurations(tree: Tree) -> Iterator[Path]:
    for path in CONTAINERS_CONF:
        yield tree.place(path)
        yield from sorted(tree.place(f"{path}.d").glob("*.conf"))


def docker_unit(tree: Tree) -> str:
    """The path of the unit that opens the socket of Docker's driver; empty when there is none."""
    units = (f"{folder}/systemd/system/{DOCKER_SOCKET_UNIT}" for folder in UNIT_FOLDERS)
    return next((path for path in units if tree.place(path).is_file()), "")


def preload_folder() -> str:
    """Where on this machine the laid out library is, or will be."""
    is_installed = (library.INSTALLED / "lib" / library.NAME).is_file()
    return str(library.INSTALLED) if is_installed else PRELOAD_OF_TREE


def _preload() -> Iterator[Item]:
    """The library, laid out."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "preload")
        library.lay_out(folder)
        for path in sorted(folder.rglob("*")):
            place = f"{PRELOAD_OF_TREE}/{path.relative_to(folder)}"
            if path.is_symlink():
                yield Item(place, "preload library", target=str(path.readlink()))
            elif path.is_file():
                yield Item(place, "preload library", path.read_bytes())
