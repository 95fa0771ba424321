"""Takes fabrics down, and networks away."""

from __future__ import annotations

import contextlib
import json
import os
import shutil

from vnicd.cli.fabrics.locked import locked, systemctl
from vnicd.cli.fabrics.networks import ask, inside, paths_of
from vnicd.cli.fabrics.stopping import take_down
from vnicd.config import DEFAULT_NETWORK, Paths, service_of
from vnicd.errors import (
    Busy,
    Invalid,
    NotPermitted,
    NotRunning,
    TimedOut,
    VnicdError,
)


def remove(name: str, force: bool = False) -> None:
    """Take a network away; Busy while it has partitions, unless with `force` they go, too."""
    if os.geteuid() != 0:
        raise NotPermitted("only root can remove a network", "run it with sudo")
    if name == DEFAULT_NETWORK:
        raise Invalid("the network default is there always", "to end it: vnicctl down")
    with locked():
        paths = paths_of(name)
        if not force and (there := partitions(paths)):
            what = "partition" if len(there) == 1 else "partitions"
            raise Busy(
                f"the network {name} has the {what} {_listed(there)}",
                f"remove them first, or with it: vnicctl network remove {name} --force",
            )
        take_away(paths)


def partitions(paths: Paths) -> list[str]:
    """The partitions of a network, also of one whose hosting daemon is dead; Busy when nobody can tell."""
    try:
        return [each["name"] for each in ask(paths, "partition.list")["partitions"]]
    except NotRunning:
        return _remembered(paths)
    except TimedOut as error:
        raise Busy(f"the hosting daemon of {paths.root} does not answer", "see: vnicctl doctor") from error


def _remembered(paths: Paths) -> list[str]:
    """By the state that a dead hosting daemon has left."""
    try:
        return [each["spec"]["name"] for each in json.loads(paths.state.read_text())["partitions"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VnicdError(f"{paths.state} can't be read: {error}") from error


def _listed(there: list[str], most: int = 8) -> str:
    more = f" and {len(there) - most} more" if len(there) > most else ""
    return ", ".join(there[:most]) + more


def take_away(paths: Paths) -> None:
    """End a network with its partitions, and forget that it was declared."""
    service = service_of(paths.root)
    if service:
        systemctl("disable", service)
    with inside(paths), contextlib.suppress(NotRunning):
        take_down()
    if service:
        systemctl("stop", service)
    with contextlib.suppress(FileNotFoundError):
        paths.declaration.unlink()
    shutil.rmtree(paths.root, ignore_errors=True)


def end(paths: Paths) -> bool:
    """Take down a network, which stays declared; False when there is nothing of it."""
    with inside(paths):
        try:
            take_down()
        except NotRunning:
            return False
    return True
