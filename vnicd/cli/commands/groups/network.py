"""vnicctl network: add, list, show and remove networks, each with addresses and an uplink of its own."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import output, units
from vnicd.cli.errors import raise_all
from vnicd.cli.fabrics import ending, making, networks
from vnicd.cli.groups import Group
from vnicd.cli.params import json_option, network_names, one_of, output_options
from vnicd.config import DEFAULT_NETWORK
from vnicd.errors import VnicdError

HEADERS = ("NAME", "STATE", "UPLINK", "PARTITIONS", "SUBNETS")


@click.group(cls=Group, aliases={"create": "add", "ls": "list", "inspect": "show", "rm": "remove"})
def network() -> None:
    """Add, list and remove networks.

    Each is a fabric of its own, with its own hosting daemon: partitions of two
    networks may have the same addresses, and can't reach each other. The network
    `default` is the one that `vnicctl up` starts. `vnicctl --network NAME ...`
    works on another one, and so does VNICD_NETWORK=NAME.
    """


@network.command()
@click.argument("name")
@click.option(
    "--subnet",
    "subnets",
    metavar="CIDR",
    multiple=True,
    help="Where partitions get their addresses from; one for IPv4, one for IPv6.",
)
@click.option(
    "--gateway",
    "gateways",
    metavar="ADDRESS",
    multiple=True,
    help="Gateway in a subnet; with the uplinks nat and none the machine's own address there.",
)
@click.option(
    "--uplink",
    metavar="MODE",
    shell_complete=one_of("nat", "bridge", "none", "internal"),
    default="nat",
    show_default=True,
    help="nat, bridge, none (the machine alone is in it) or internal (nobody else is).",
)
@click.option(
    "--nic", metavar="NIC", help="For nat and bridge; for nat by default that of the default route."
)
@click.option(
    "--label", "labels", metavar="KEY=VALUE", multiple=True, help="For whoever manages it; repeatable."
)
@json_option
def add(
    name: str,
    subnets: tuple[str, ...],
    gateways: tuple[str, ...],
    uplink: str,
    nic: str | None,
    labels: tuple[str, ...],
    as_json: bool,
) -> None:
    """Add a network, and start its hosting daemon.

    A partition that is added to it without addresses is given a free one of each of
    its subnets, and the gateway where there is one. Without --subnet, nat and none
    take one that nobody has; internal and bridge have none then.

    Where vnicd is a service, the network comes back when the machine starts; its file
    is /etc/vnicd/networks/NAME.toml.

    \b
    Examples:
      vnicctl network add web
      vnicctl network add fast --subnet 10.88.0.0/24 --subnet fd88::/64
      vnicctl network add backend --uplink internal --subnet 10.89.0.0/24
      vnicctl network add lan --uplink bridge --nic eth1 --subnet 192.0.2.0/24 --gateway 192.0.2.1
      vnicctl --network fast partition add db
    """
    from vnicd.spec.network import make_network

    making.add(make_network(name, uplink, nic, subnets, gateways, labels))
    data = networks.describe(name)
    output.emit(data, as_json, _show_added)


@network.command(name="list")
@output_options(names=True, watch=True)
def list_(as_json: bool) -> None:
    """List the networks.

    \b
    Examples:
      vnicctl network list
      vnicctl network ls --json | jq -r '.networks[].name'
    """
    data = {"networks": [networks.describe(each) for each in (DEFAULT_NETWORK, *networks.names())]}
    output.emit(data, as_json, _show_list)


@network.command()
@click.argument("name", shell_complete=network_names)
@json_option
def show(name: str, as_json: bool) -> None:
    """Show all details of one network.

    \b
    Examples:
      vnicctl network show fast
      vnicctl network inspect fast --json | jq -r .runtime_dir
    """
    networks.paths_of(name)
    output.emit(networks.describe(name), as_json, _show_one)


@network.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=network_names)
@click.option("--force", is_flag=True, help="Remove its partitions, too.")
def remove(names: tuple[str, ...], force: bool) -> None:
    """Remove networks.

    One that has partitions stays, unless --force removes them as well.

    \b
    Examples:
      vnicctl network remove fast
      vnicctl network rm fast backend --force
    """
    failures: list[VnicdError] = []
    for name in dict.fromkeys(names):
        networks.paths_of(name)  # or none is removed
    for name in dict.fromkeys(names):
        try:
            ending.remove(name, force)
        except VnicdError as error:
            failures.append(error)
    raise_all(failures)


def _show_added(data: dict[str, Any]) -> None:
    words = [_uplink(data), *data["subnets"]]
    click.echo(f"network {data['name']}: {', '.join(words)}")


def _uplink(data: dict[str, Any]) -> str:
    return f"{data['uplink']} by {data['nic']}" if data["nic"] else data["uplink"] or units.NONE


def _show_list(data: dict[str, Any]) -> None:
    rows = [
        [
            each["name"],
            each["state"],
            _uplink(each),
            units.NONE if each["partitions"] is None else str(len(each["partitions"])),
            ", ".join(each["subnets"]) or units.NONE,
        ]
        for each in data["networks"]
    ]
    output.table(HEADERS, rows, right=("PARTITIONS",))


def _show_one(data: dict[str, Any]) -> None:
    state = f"{data['state']}: {data['reason']}" if data["reason"] else data["state"]
    there = data["partitions"]
    output.columns(
        [
            ("name", data["name"]),
            ("state", state),
            ("daemon", f"pid {data['pid']}, version {data['version']}" if data["pid"] else units.NONE),
            ("uplink", _uplink(data)),
            *(("subnet", each) for each in data["subnets"]),
            *(("gateway", each) for each in data["gateways"]),
            *(("label", f"{key}={value}") for key, value in data["labels"].items()),
            ("partitions", units.NONE if not there else ", ".join(there)),
            ("runtime dir", data["runtime_dir"]),
        ]
    )
