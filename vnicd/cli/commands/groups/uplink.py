"""vnicctl uplink: set, show and clear the real NIC that the partitions share."""

from __future__ import annotations

import socket
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any, get_args

import click

from vnicd.cli import output, units
from vnicd.cli.client import call
from vnicd.cli.commands.groups.publish import new_ports
from vnicd.cli.groups import Group
from vnicd.cli.params import output_options
from vnicd.errors import Busy

if TYPE_CHECKING:
    from vnicd.spec.uplink import UplinkSpec

CHANGE_TIMEOUT = 30.0
"""Seconds that a change may take on a busy machine; it is milliseconds on an idle one."""

DEFAULT_ROUTE = (
    "{nic} carries this machine's default route, and partitions share it: "
    "a mistake here can cut you off; keep another way in"
)


def _nics(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The interfaces that could be meant: not the loopback one, and none of vnicd's own."""
    names = sorted(name for _, name in socket.if_nameindex() if name.startswith(incomplete))
    return [name for name in names if name != "lo" and not name.removeprefix("vnicd").isdigit()]


def _modes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from vnicd.spec.uplink import Mode

    return [mode for mode in get_args(Mode) if mode.startswith(incomplete) and mode != "none"]


@click.group(
    cls=Group, aliases={"ls": "show", "inspect": "show", "unset": "clear", "rm": "clear", "del": "clear"}
)
def uplink() -> None:
    """Share a real NIC with the partitions."""


@uplink.command(name="set")
@click.argument("nic", shell_complete=_nics)
@click.option(
    "--mode",
    metavar="MODE",
    default="bridge",
    show_default=True,
    shell_complete=_modes,
    help="bridge, shared or nat.",
)
@click.option(
    "--subnet",
    "subnets",
    metavar="CIDR",
    multiple=True,
    help="nat: the partitions' network, one for IPv4 and one for IPv6; by default 10.78.0.0/24 and fd78::/64.",
)
@click.option(
    "--publish",
    metavar="[ADDRESS:]PORT:NAME:PORT[/udp]",
    multiple=True,
    shell_complete=new_ports,
    help="nat: a port of the machine that leads to one of a partition; repeatable.",
)
@click.option("--propagate-link", is_flag=True, help="The partitions' carrier follows the NIC's.")
def set_(
    *,
    nic: str,
    mode: str,
    subnets: tuple[str, ...],
    publish: tuple[str, ...],
    propagate_link: bool,
) -> None:
    """Connect the partitions to the outside through a NIC.

    The machine goes on using the NIC itself. Setting an uplink again replaces all of
    its settings, the published ports too. For new partitions of nat mode, publish
    ports when they are there: vnicctl publish add

    \b
    Modes:
      bridge  each partition's own MAC address is on the wire
      shared  all have the NIC's MAC: for clouds and Wi-Fi, which drop others
      nat     this machine is the partitions' gateway, and stands for all of them

    \b
    Examples:
      vnicctl uplink set eth1
      vnicctl uplink set eth1 --mode shared
      vnicctl uplink set eth1 --mode nat --subnet 10.9.0.0/24
    """
    from vnicd.spec.uplink import gift, make_uplink

    data = _replace(make_uplink(nic, mode, subnets, publish, propagate_link))
    if data["default_route"]:
        output.warn(DEFAULT_ROUTE.format(nic=data["nic"]))
    for name, free in data["without_address"].items():
        text = f"partition {name} has no address of {_subnets(data)}, and so no way out"
        output.warn(f"{text}: vnicctl partition set {name} {gift(data['subnets'], free)}")


def _replace(spec: UplinkSpec) -> dict[str, Any]:
    """Sets the uplink and tells what it is, and which ports it publishes no longer."""
    before = call("uplink.show")["uplink"]
    data: dict[str, Any] | None = call("uplink.set", spec.to_json(), timeout=CHANGE_TIMEOUT)["uplink"]
    if data is None:
        raise Busy("another request has cleared the uplink meanwhile", "see: vnicctl uplink show")
    click.echo(f"uplink: {', '.join(_summary(data))}")
    lost = [each for each in (before or {}).get("publish", ()) if each not in data["publish"]]
    if lost:
        again = f"; again with: vnicctl publish add {' '.join(lost)}" if data["mode"] == "nat" else ""
        output.warn(f"no longer published: {', '.join(lost)}{again}")
    return data


@uplink.command(name="none")
@click.option(
    "--address",
    "addresses",
    metavar="CIDR",
    multiple=True,
    required=True,
    help="The machine's address in the fabric, with its prefix length; repeatable.",
)
def none(addresses: tuple[str, ...]) -> None:
    """Connect the machine itself to the fabric, without a NIC.

    The machine and the partitions reach each other, as they do by a container bridge,
    and the world stays outside: no NIC is used, nothing is translated or forwarded,
    and there are no firewall rules. This replaces an uplink that is set.

    \b
    Examples:
      vnicctl uplink none --address 10.77.0.254/24
      vnicctl uplink none --address 10.77.0.254/24 --address fd77::fe/64
    """
    from vnicd.spec.uplink import make_uplink

    _replace(make_uplink(None, "none", addresses=addresses))


@uplink.command()
@output_options(watch=True)
def show(as_json: bool) -> None:
    """Show the uplink, its NIC and its traffic.

    \b
    Examples:
      vnicctl uplink show
      vnicctl uplink show --json | jq .uplink.offloads
    """
    output.emit(call("uplink.show"), as_json, _show)


@uplink.command()
def clear() -> None:
    """End the uplink, and restore the NIC.

    Partitions go on talking to each other, but to nobody else.

    \b
    Examples:
      vnicctl uplink clear
    """
    call("uplink.clear", timeout=CHANGE_TIMEOUT)


def _summary(data: dict[str, Any]) -> list[str]:
    """What a user wants to know at once."""
    words = [f"{data['nic']} ({data['mode']})" if data["nic"] else data["mode"]]
    if data["state"] != "up":
        words.append(data["state"])
    if data["mtu"]:
        words.append(f"MTU {data['mtu']}")
    if data["speed_mbit"]:
        words.append(_speed(data))
    words.append(f"machine's side {data['ifname']}")
    words += [f"gateway {subnet}" for subnet in data["subnets"]]
    return [*words, *(f"address {address}" for address in data["addresses"])]


def _show(answer: dict[str, Any]) -> None:
    data = answer["uplink"]
    if data is None:
        click.echo("no uplink is set")
        return
    counters = data["counters"]
    other = "machine" if data["mode"] in ("nat", "none") else "NIC"  # whose frames they are
    output.columns(
        [
            *([("nic", data["nic"])] if data["nic"] else []),
            ("mode", data["mode"]),
            ("state", f"{data['state']}: {data['reason']}" if data["reason"] else data["state"]),
            *(_of_nic(data) if data["nic"] else []),
            ("machine's side", data["ifname"] or units.NONE),
            *(("gateway", subnet) for subnet in data["subnets"]),
            *(("address", address) for address in data["addresses"]),
            *(("publish", each) for each in data["publish"]),
            *([("propagate link", "yes" if data["propagate_link"] else "no")] if data["nic"] else []),
            (f"to the {other}", _traffic(counters["tx_frames"], counters["tx_bytes"])),
            (f"from the {other}", _traffic(counters["rx_frames"], counters["rx_bytes"])),
            ("drops", units.drops(data["drops"])),
            *([("put back", _repairs(data))] if data["repairs"] else []),
            *(("no address", name) for name in data["without_address"]),
            *(("in the way", each) for each in data["in_the_way"]),
        ]
    )


def _of_nic(data: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("backend", data["backend"]),
        ("mac", data["mac"] or units.NONE),
        ("mtu", str(data["mtu"] or units.NONE)),
        ("speed", _speed(data)),
        ("offloads", _offloads(data["offloads"])),
        ("default route", "yes, the machine's own" if data["default_route"] else "no"),
    ]


def _subnets(data: dict[str, Any]) -> str:
    return " or ".join(str(ip_interface(text).network) for text in data["subnets"])


def _speed(data: dict[str, Any]) -> str:
    return units.rate((data["speed_mbit"] or 0) * 10**6)


def _offloads(offloads: dict[str, bool]) -> str:
    """Those that the NIC has, and in brackets those that it lacks."""
    off = [name for name, is_on in offloads.items() if not is_on]
    lacking = f"(off: {', '.join(off)})" if off else ""
    on = ", ".join(name for name, is_on in offloads.items() if is_on)
    return " ".join(filter(None, (on, lacking))) or units.NONE


def _repairs(data: dict[str, Any]) -> str:
    times = "once" if data["repairs"] == 1 else f"{units.count(data['repairs'])} times"
    return f"{times}, last: {data['last_repair']}"


def _traffic(frames: int, size: int) -> str:
    return f"{units.count(frames)} frames, {units.size(size)}"
