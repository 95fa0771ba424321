"""Which container runtimes are here, and what each lacks to use vnicd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vnicd.cli.containers import contents, places
from vnicd.cli.containers.files import Tree

ASK_TIMEOUT_S = 10.0
"""Seconds that a runtime has to tell its version."""

INSTALL = "vnicctl containers install"
INSTALL_NETWORK = "vnicctl containers install --conflist"

Version = tuple[int, ...]

PODMAN_OF_PLUGINS: Version = (4, 5)
"""The first podman that knows plugins of netavark."""


@dataclass
class Runtime:
    """A runtime, and by what it would use vnicd."""

    name: str
    version: str | None = None
    """None when it is not here."""
    uses: str = ""
    missing: list[dict[str, str]] = field(default_factory=list)
    """What it lacks, each with what to do."""

    def lacks(self, what: str, remedy: str) -> None:
        self.missing.append({"what": what, "remedy": remedy})

    @property
    def is_ready(self) -> bool:
        return self.version is not None and not self.missing

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ready": self.is_ready}


def look(tree: Tree) -> list[Runtime]:
    """All runtimes that vnicd knows of, those too that are not here."""
    return [_podman(tree), _docker(tree), _containerd(tree), _crio(tree), _cdi(tree)]


def _podman(tree: Tree) -> Runtime:
    found = Runtime("podman", _version("podman", "--version"))
    if found.version is None:
        return found
    backend, network = places.podman_backend(tree), places.podman_network(tree)
    if backend == "cni":
        found.uses = "CNI"
        folders = network.get("cni_plugin_dirs") or places.CNI_FOLDERS_OF_PODMAN
        _need_plugin(found, tree, folders)
        _need_network(
            found, tree, str(network.get("network_config_dir") or places.CNI_NETWORKS), only_first=False
        )
    elif numbers(found.version) < PODMAN_OF_PLUGINS:
        found.uses = backend
        found.lacks(
            "its netavark knows no plugins before podman 4.5",
            'network_backend = "cni" in [network] of /etc/containers/containers.conf',
        )
    else:
        found.uses = "netavark plugin"
        _need_plugin(found, tree, network.get("netavark_plugin_dirs") or places.NETAVARK_FOLDERS)
    return found


def _docker(tree: Tree) -> Runtime:
    found = Runtime("Docker", _version("dockerd", "--version"), "network driver")
    if found.version is None:
        return found
    if tree.place(places.DOCKER_SOCKET).exists():
        return found
    if places.docker_unit(tree):
        found.lacks(
            "its driver's socket is not open", f"{INSTALL}, or systemctl start {places.DOCKER_SOCKET_UNIT}"
        )
    else:
        found.lacks("its driver does not run", "vnicd docker")
    return found


def _containerd(tree: Tree) -> Runtime:
    return _by_cni(Runtime("containerd", _version("containerd", "--version"), "CNI"), tree)


def _crio(tree: Tree) -> Runtime:
    return _by_cni(Runtime("CRI-O", _version("crio", "--version"), "CNI"), tree)


def _by_cni(found: Runtime, tree: Tree) -> Runtime:
    if found.version is not None:
        _need_plugin(found, tree, [places.CNI_BIN])
        _need_network(found, tree, places.CNI_NETWORKS, only_first=True)
    return found


def _cdi(tree: Tree) -> Runtime:
    """Not a runtime, but what several share."""
    found = Runtime("CDI", "", "vnicd.io/direct=on")
    try:
        devices = json.loads(tree.place(places.CDI).read_text())["devices"]
        mounts = [mount["hostPath"] for each in devices for mount in each["containerEdits"]["mounts"]]
    except FileNotFoundError:
        found.lacks(f"there is no {places.CDI}", INSTALL)
    except (OSError, ValueError, KeyError, TypeError):
        found.lacks(f"{places.CDI} can't be understood", f"delete it, and {INSTALL}")
    else:
        gone = [path for path in mounts if not tree.place(path).is_dir()]
        if gone:
            found.lacks(f"{places.CDI} leads to {gone[0]}, which is not there", INSTALL)
    return found


def _need_plugin(found: Runtime, tree: Tree, folders: Sequence[str]) -> None:
    there = [tree.place(f"{folder}/{contents.PLUGIN}") for folder in folders]
    links = [path for path in there if path.is_symlink() or path.exists()]
    if not links:
        found.lacks(f"there is no plugin {contents.PLUGIN}", INSTALL)
    elif not links[0].exists():
        found.lacks(f"{links[0]} leads nowhere: vnicd was moved or removed", INSTALL)


def _need_network(found: Runtime, tree: Tree, folder: str, only_first: bool) -> None:
    """A network of ours; for some runtimes the first file is all pods' network, and others mean nothing."""
    files = sorted(
        path for path in _entries(tree.place(folder)) if path.suffix in (".conf", ".conflist", ".json")
    )
    ours = [path for path in files if _is_ours(path)]
    if not ours:
        found.lacks(f"{folder} has no network of vnicd", INSTALL_NETWORK)
    elif only_first and files[0] != ours[0]:
        found.lacks(
            f"{files[0].name} comes before {ours[0].name}, and it uses only the first", "rename or remove one"
        )


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_ours(path: Path) -> bool:
    try:
        data = json.loads(path.read_text())
        plugins = data.get("plugins", [data])
        return any(each.get("type") == contents.PLUGIN for each in plugins)
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def numbers(version: str) -> Version:
    """(4, 3, 1) of 4.3.1+ds1; nothing of what is no version."""
    return tuple(int(text) for text in re.match(r"\d*(\.\d+)*", version)[0].split(".") if text)  # type: ignore[index]


def _version(program: str, *words: str) -> str | None:
    """What a program says is its version, `?` if it says none; None when it is not here."""
    if shutil.which(program) is None:
        return None
    found = re.search(r"\d+\.\d+[\w.+~-]*", _say(program, *words))
    return found[0] if found else "?"


def _say(*argv: str, run: Callable[..., Any] = subprocess.run) -> str:
    try:
        done = run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_TIMEOUT_S,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return str(done.stdout).strip()
