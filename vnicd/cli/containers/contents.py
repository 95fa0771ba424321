"""The files that runtimes read: a CNI network, and direct sockets as a CDI device; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from vnicd.cli import library
from vnicd.errors import Invalid

PLUGIN = "vnicd"
"""The plugin's file, by which runtimes call it: the type of CNI's networks, and netavark's driver."""

CONFLIST_NAME = "vnicd"
CNI_VERSION = "1.0.0"
"""Plugins of Debian 12, which are chained behind ours, refuse 1.1.0."""

CDI_KIND, CDI_DEVICE = "vnicd.io/direct", "on"
CDI_VERSION = "0.3.0"
"""The oldest that has all that we use, as a runtime refuses versions that it does not know."""

CONTAINER_PRELOAD = "/opt/vnicd/preload"
"""Where a container sees the preload library, wherever it is on the machine."""


def conflist(network: str, runtime_dir: str, subnets: Sequence[str], with_portmap: bool) -> str:
    """CNI's list of plugins for a network of ours; `runtime_dir` is empty for the usual one.

    With `subnets` the plugin host-local gives addresses of these, else the network does. Invalid for what is no subnet.
    """
    ours: dict[str, Any] = {
        "type": PLUGIN,
        "capabilities": {"ips": True, "mac": True, "bandwidth": True, "aliases": True},
    }
    if network:
        ours["network"] = network
    if runtime_dir:
        ours["runtimeDir"] = runtime_dir
    if subnets:
        ours["ipam"] = {"type": "host-local", "ranges": [[{"subnet": each}] for each in map(subnet, subnets)]}
    plugins = [ours]
    if with_portmap:
        plugins.append({"type": "portmap", "capabilities": {"portMappings": True}})
    return _text({"cniVersion": CNI_VERSION, "name": CONFLIST_NAME, "plugins": plugins})


def subnet(text: str) -> str:
    try:
        found = ip_network(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is no subnet: {error}", "write it as 10.88.0.0/24") from error
    if found.num_addresses < 4:
        raise Invalid(f"the subnet {text} has no room for containers")
    return str(found)


def cdi(preload: str) -> str:
    """The CDI file with the device vnicd.io/direct=on; `preload` is the folder of the laid out library here."""
    mount = {
        "hostPath": preload,
        "containerPath": CONTAINER_PRELOAD,
        "options": ["ro", "nosuid", "nodev", "bind"],
    }
    variable = f"{library.PRELOAD}={CONTAINER_PRELOAD}/{library.LITERAL}/{library.NAME}"
    edits = {"env": [variable], "mounts": [mount]}
    devices = [{"name": CDI_DEVICE, "containerEdits": edits}]
    return _text({"cdiVersion": CDI_VERSION, "kind": CDI_KIND, "devices": devices})


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
