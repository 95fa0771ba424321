"""vnicctl containers: have container runtimes use vnicd, and see whether they can."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import click

from vnicd.cli import output
from vnicd.cli.containers import places, runtimes
from vnicd.cli.containers.files import Tree
from vnicd.cli.fabrics import networks
from vnicd.cli.groups import Group
from vnicd.cli.params import json_option, output_options
from vnicd.config import DEFAULT_NETWORK, DEFAULT_RUNTIME_DIR, Paths
from vnicd.errors import NotPermitted

SYSTEMCTL_TIMEOUT_S = 30.0

WORDS = {"new": "put", "changed": "renewed", "same": "unchanged"}
PLANS = {"new": "to put", "changed": "to renew", "same": "unchanged", "removed": "to remove"}

root_option = click.option(
    "--root",
    metavar="DIR",
    default="/",
    type=click.Path(file_okay=False, path_type=Path),
    help="Work below DIR instead of /, for packages and images.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would be done.")


@click.group(cls=Group, aliases={"remove": "uninstall", "rm": "uninstall", "show": "status"})
def containers() -> None:
    """Have podman, Docker and containerd use vnicd."""


@containers.command()
@click.option(
    "--conflist",
    is_flag=True,
    help="Also make a CNI network. containerd and CRI-O take the first file there for all pods.",
)
@click.option(
    "--subnet",
    "subnets",
    metavar="CIDR",
    multiple=True,
    help="Make that network, and give its containers addresses of CIDR by CNI's host-local; repeatable.",
)
@click.option(
    "--copy",
    is_flag=True,
    help="Copy plugin and library instead of naming where they are, for a DIR without vnicd.",
)
@root_option
@dry_run_option
@json_option
def install(
    conflist: bool, subnets: tuple[str, ...], copy: bool, root: Path, dry_run: bool, as_json: bool
) -> None:
    """Put plugins and devices where runtimes look.

    These are the plugin for CNI and for netavark, Docker's driver, the CDI device
    vnicd.io/direct=on, and with --conflist the CNI network vnicd. Its containers are
    in the network that vnicctl works on, which needs subnets then, or --subnet. If a
    file is there already that vnicctl has not put there, nothing is done. A second
    time it renews what has changed.

    \b
    Examples:
      vnicctl containers install
      vnicctl containers install --conflist
      vnicctl containers install --subnet 10.88.0.0/24
      vnicctl --network fast containers install --conflist
    """
    _need_root(root, dry_run)
    paths = Paths.from_environment()
    default = str(paths.default.root)
    runtime_dir = "" if default == DEFAULT_RUNTIME_DIR else default
    tree = Tree(root)
    items = places.items(tree, places.Wishes(conflist, subnets, paths.network, runtime_dir, copy))
    states = tree.install(items, dry_run)
    if not dry_run and _is_this_machine(root) and places.docker_unit(tree):
        _systemctl("daemon-reload")
        _systemctl("start", places.DOCKER_SOCKET_UNIT)
    if conflist and not subnets and root == Path("/"):
        _warn_without_subnets(paths.network or DEFAULT_NETWORK)
    words = PLANS if dry_run else WORDS
    rows = [{"path": each.path, "what": each.purpose, "state": words[states[each.path]]} for each in items]
    output.emit({"files": rows}, as_json, _show_files)


@containers.command()
@root_option
@dry_run_option
@json_option
def uninstall(root: Path, dry_run: bool, as_json: bool) -> None:
    """Take away exactly what install has put.

    A file that was changed since is kept. Containers that run go on.

    \b
    Examples:
      vnicctl containers uninstall --dry-run
    """
    _need_root(root, dry_run)
    tree = Tree(root)
    if (
        not dry_run
        and _is_this_machine(root)
        and any(places.DOCKER_SOCKET_UNIT in path for path in tree.manifest().files)
    ):
        _systemctl(
            "stop", places.DOCKER_SOCKET_UNIT, places.DOCKER_SOCKET_UNIT.replace(".socket", ".service")
        )
    found = tree.uninstall(dry_run)
    words = PLANS if dry_run else {}
    rows = [{"path": path, "what": "", "state": words.get(fate, fate)} for path, fate in found.items()]
    output.emit({"files": rows}, as_json, _show_files)


@containers.command()
@output_options()
def status(as_json: bool) -> None:
    """Tell what each container runtime lacks.

    \b
    Examples:
      vnicctl containers status
      vnicctl containers status --json | jq '.runtimes[] | select(.ready)'
    """
    found = [each.to_json() for each in runtimes.look(Tree(Path("/")))]
    output.emit({"runtimes": found}, as_json, _show_runtimes)


def _warn_without_subnets(name: str) -> None:
    """Containers start without addresses then, and nobody says why. A network that is down can't be asked."""
    found = networks.describe(name)
    if found["state"] == "up" and not found["subnets"]:
        nat = "vnicctl uplink set NIC --mode nat --subnet CIDR"
        output.warn(
            f"the network {name} has no subnets, so its containers get no addresses; give it some: {nat}; "
            "or have CNI choose them: vnicctl containers install --subnet CIDR"
        )


def _need_root(root: Path, dry_run: bool) -> None:
    if root == Path("/") and not dry_run and os.geteuid() != 0:
        raise NotPermitted("only root can set up container runtimes", "run it with sudo")


def _is_this_machine(root: Path) -> bool:
    return root == Path("/") and Path("/run/systemd/system").is_dir()


def _systemctl(*words: str) -> None:
    """What fails is told, and is no reason to undo what is done."""
    try:
        done = subprocess.run(
            ["systemctl", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SYSTEMCTL_TIMEOUT_S,
        )
        problem = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        output.warn(f"systemctl {' '.join(words)}: {problem}")


def _show_files(data: dict[str, Any]) -> None:
    if not data["files"]:
        output.note("nothing was put there")
        return
    rows = [(each["state"], each["path"], each["what"]) for each in data["files"]]
    kept = 3 if any(what for _, _, what in rows) else 2
    output.table(("STATE", "PATH", "WHAT")[:kept], [row[:kept] for row in rows])


def _show_runtimes(data: dict[str, Any]) -> None:
    rows = []
    for each in data["runtimes"]:
        if each["version"] is None:
            rows.append(("absent", each["name"], "", ""))
            continue
        rows.append(("ok" if each["ready"] else "fail", each["name"], each["version"], each["uses"]))
    output.table(("STATE", "RUNTIME", "VERSION", "BY"), rows)
    for each in data["runtimes"]:
        for lack in each["missing"]:
            output.say(f"{each['name']}: {lack['what']}")
            output.say(f"  -> {lack['remedy']}", "     ")
