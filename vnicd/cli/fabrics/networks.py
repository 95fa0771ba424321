"""Which networks there are, and what they are: by their files, and by their hosting daemons."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

from vnicd.cli.client import alike
from vnicd.config import DEFAULT_NETWORK, Paths
from vnicd.errors import (
    NotFound,
    NotPermitted,
    NotRunning,
    TimedOut,
    VnicdError,
)
from vnicd.protocol.control import Client
from vnicd.spec import fabric_file
from vnicd.spec.fabric_file import Declared
from vnicd.spec.network import NetworkSpec, of_declared, of_parts
from vnicd.spec.uplink import make_uplink

LOOK_TIMEOUT_S = 2.0
"""Seconds that a network has to tell how it is."""

VARIABLE = "VNICD_RUNTIME_DIR"


def names() -> list[str]:
    """All networks of the default one's runtime directory, but for that itself."""
    return Paths.from_environment().network_names()


def paths_of(name: str) -> Paths:
    """Of a network that is there; NotFound otherwise."""
    paths, known = Paths.from_environment(), names()
    if name != DEFAULT_NETWORK and name not in known:
        hint = alike(name, [*known, DEFAULT_NETWORK]) or "list them with: vnicctl network list"
        raise NotFound(f"there is no network {name}", hint)
    return paths.of_network(name)


@contextlib.contextmanager
def inside(paths: Paths) -> Iterator[None]:
    """Have everything that vnicctl does go to this network."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(paths.root)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def declared(paths: Paths) -> Declared:
    """What a network's file declares."""
    return fabric_file.load(paths.declaration)


def describe(name: str) -> dict[str, Any]:
    """A network as it is declared, or the default one as it runs; what can't be told is None."""
    paths = Paths.from_environment().of_network(name)
    found: dict[str, Any] = {"name": name, "state": "up", "reason": "", "pid": None, "version": None}
    about: dict[str, Any] = {**NetworkSpec(name).to_json(), "uplink": None}
    if name != DEFAULT_NETWORK:
        try:
            about = of_declared(name, declared(paths)).to_json()
        except VnicdError as error:
            found["reason"] = error.message
    partitions = None
    try:
        ping = ask(paths, "fabric.ping")
        found |= {
            "state": "up" if ping["ready"] else "starting",
            "pid": ping["pid"],
            "version": ping["version"],
        }
        partitions = [each["name"] for each in ask(paths, "partition.list")["partitions"]]
        if name == DEFAULT_NETWORK:
            about = _running(paths, name)
    except NotRunning:
        found["state"] = "down"
    except (NotPermitted, TimedOut, VnicdError) as error:
        found |= {"state": "unknown", "reason": error.message}
    return {**found, **about, "partitions": partitions, "runtime_dir": str(paths.root)}


def _running(paths: Paths, name: str) -> dict[str, Any]:
    """The default network, by what its hosting daemon tells."""
    options = fabric_file.from_json(ask(paths, "config.export")["declared"]).options
    return of_parts(name, options, uplink_of(paths)).to_json()


def uplink_of(paths: Paths) -> Any:
    data = ask(paths, "uplink.show")["uplink"]
    if data is None:
        return None
    return make_uplink(data["nic"] or None, data["mode"], data["subnets"], addresses=data["addresses"])


def ask(paths: Paths, method: str) -> Any:
    try:
        return Client(paths.control).call(method, timeout=LOOK_TIMEOUT_S)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VnicdError(f"the hosting daemon at {paths.control} can't be asked: {error}") from error


def going(names: Iterable[str]) -> list[str]:
    """Those of these networks whose hosting daemon lives."""
    default, found = Paths.from_environment(), []
    for name in names:
        try:
            ask(default.of_network(name), "fabric.ping")
        except NotRunning:
            continue
        except VnicdError:
            pass
        found.append(name)
    return found
