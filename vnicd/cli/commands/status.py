"""vnicctl status: the fabric and its ports."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import actual, output, units
from vnicd.cli.client import call
from vnicd.cli.params import output_options
from vnicd.config import DEFAULT_NETWORK

PORT_HEADERS = ("PORT", "NAME", "STATE", "PID", "INTERFACE", "MAC", "MTU", "PAGES", "NAMESPACE", "ADDRESSES")


@click.command()
@output_options(watch=True)
def status(as_json: bool) -> None:
    """Show the state of the fabric and its ports.

    \b
    Examples:
      vnicctl status
      vnicctl status --watch
      vnicctl status --json | jq '.ports[] | {name, state}'
    """
    output.emit(call("status"), as_json, _show, rows="ports")


def _show(data: dict[str, Any]) -> None:
    fabric = data["fabric"]
    uptime = units.duration(fabric["uptime_s"])
    network = fabric.get("network", DEFAULT_NETWORK)
    head = [
        *([("network", network)] if network != DEFAULT_NETWORK else []),
        ("fabric", fabric["runtime_dir"]),
        ("daemon", f"pid {fabric['pid']}, version {fabric['version']}, up {uptime}"),
        ("memory", f"{units.size(fabric['page_size'])} pages (hugepages {fabric['hugepages']})"),
    ]
    if names := fabric.get("names"):
        head.append(("names", _names(names)))
    uplink = fabric.get("uplink")
    if uplink:
        head.append(("uplink", _uplink(uplink)))
    if networks := fabric.get("networks"):
        head.append(("networks", ", ".join(networks)))
    if fabric.get("degraded"):
        head.append(("degraded", fabric["degraded"]))
    output.columns(head)
    click.echo()
    show_ports(data["ports"])


def _uplink(uplink: dict[str, Any]) -> str:
    """Its state, and where to look when it has dropped frames, which no counter of a partition tells."""
    dropped = sum((uplink.get("drops") or {}).values())
    what = f"{uplink['nic']} ({uplink['mode']})" if uplink["nic"] else "none (the machine alone)"
    text = f"{what}, {uplink['state']}"
    return f"{text}, dropped {units.count(dropped)} frames: vnicctl stats host" if dropped else text


def _names(names: dict[str, Any]) -> str:
    if not names["server"]:
        return "off"
    return f"at {names['server']} in each partition; others {'' if names['forwarding'] else 'not '}forwarded"


def show_ports(ports: list[dict[str, Any]]) -> None:
    output.table(PORT_HEADERS, [_row(port) for port in ports], right=("PORT", "PID", "MTU", "PAGES"))
    actual.show_notes(ports)


def _row(port: dict[str, Any]) -> list[str]:
    """A port's line; port 0 has no more than a name, a state and a process while there is no uplink."""
    return [
        str(port["port"]),
        port["name"],
        port["state"],
        str(port.get("pid") or units.NONE),
        *(actual.cell(port, key) for key in ("ifname", "mac", "mtu")),
        units.size(port.get("page_size")),
        units.netns(port.get("netns") or ""),
        actual.listed(port, "addresses"),
    ]
