"""vnicctl partition: add, remove, restart, list and show partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from vnicd.cli import actual, output, units
from vnicd.cli.client import alike, call
from vnicd.cli.errors import raise_all
from vnicd.cli.groups import Group
from vnicd.cli.params import json_option, name_argument, names_argument, namespaces, output_options, owners
from vnicd.errors import NotFound, NotPermitted, NotRunning, VnicdError
from vnicd.spec import container

CHANGE_TIMEOUT = 30.0
"""Seconds that a change may take on a busy machine; it is milliseconds on an idle one."""

HEADERS = (
    "NAME",
    "STATE",
    "PID",
    "INTERFACE",
    "MAC",
    "MTU",
    "NAMESPACE",
    "RATE",
    "GATEWAYS",
    "OWNER",
    "ADDRESSES",
)


@click.group(
    cls=Group,
    aliases={"modify": "set", "rm": "remove", "del": "remove", "ls": "list", "inspect": "show"},
    lazy={
        "set": "vnicd.cli.commands.groups.partition_set:set_",
        "wait": "vnicd.cli.commands.groups.partition_wait:wait",
    },
)
def partition() -> None:
    """Add, change, remove and inspect partitions."""


@partition.command()
@click.argument("name")
@click.option(
    "--address", "addresses", metavar="CIDR", multiple=True, help="IPv4 or IPv6 address; repeatable."
)
@click.option("--mac", metavar="MAC", help="MAC address; by default one made from the name.")
@click.option(
    "--mtu",
    metavar="N",
    type=int,
    help="Largest packet in bytes, 576 to 65000; by default that of the uplink's NIC, or else 1500.",
)
@click.option(
    "--gateway",
    "gateways",
    metavar="ADDRESS",
    multiple=True,
    help="Gateway of its default route; one for IPv4, one for IPv6.",
)
@click.option(
    "--rate", metavar="RATE", help="Limit in bits per second, both to and from the uplink: 100mbit."
)
@click.option("--rate-in", metavar="RATE", help="Limit from the uplink, instead of --rate.")
@click.option("--ifname", metavar="NAME", default="vnic0", show_default=True, help="Its interface's name.")
@click.option(
    "--netns",
    metavar="NAME|PATH",
    shell_complete=namespaces,
    help="Attach this namespace instead of making one called NAME.",
)
@click.option(
    "--owner",
    metavar="KEY=VALUE",
    multiple=True,
    help="Who manages it; repeatable. A file that is applied leaves it alone.",
)
def add(
    *,
    name: str,
    addresses: tuple[str, ...],
    mac: str | None,
    mtu: int | None,
    gateways: tuple[str, ...],
    rate: str | None,
    rate_in: str | None,
    ifname: str,
    netns: str | None,
    owner: tuple[str, ...],
) -> None:
    """Add a partition: a network namespace with a NIC.

    Without --netns the namespace is made, and goes when the partition is removed.
    Without --address it has none, but behind an uplink in nat mode it is given
    addresses and gateways.

    \b
    Examples:
      vnicctl partition add blue --address 10.77.0.1/24 --address fd77::1/64
      vnicctl partition add jumbo --mtu 9000 --mac 02:00:00:00:00:07
      vnicctl partition add web --netns /proc/4711/ns/net --ifname vnic0
      vnicctl partition add db --address 10.0.0.5/24 --gateway 10.0.0.1 --rate 100mbit
      vnicctl partition add job7 --address 10.77.0.9/24 --owner app=batch
    """
    from vnicd.spec.partition import check_limit, make_partition

    for limit in (rate, rate_in):
        check_limit(limit)
    spec = make_partition(name, addresses, mac, mtu, ifname, netns, gateways, rate, rate_in, owner)
    added = call("partition.add", spec.to_json(), timeout=CHANGE_TIMEOUT)
    where = units.netns(added["netns"])
    words = [f"{added['ifname']} in namespace {where}", added["mac"], f"MTU {added['mtu']}"]
    if not spec.addresses:
        words += added["addresses"]
    click.echo(f"{added['name']}: {', '.join(words)}")
    for text in added.get("warnings", ()):
        click.echo(f"warning: {text}", err=True)


@partition.command()
@names_argument()
def remove(names: tuple[str, ...]) -> None:
    """Remove partitions.

    Their namespaces go too if vnicd made them; others lose the NIC only. If one of several names is unknown,
    none is removed; if one can't be removed, the others are.

    \b
    Examples:
      vnicctl partition remove blue
      vnicctl partition rm blue green
    """
    change_each("partition.remove", names)


@partition.command()
@names_argument()
def restart(names: tuple[str, ...]) -> None:
    """Restart the daemons of partitions.

    It returns when the new daemons are up. Interfaces, addresses and connections stay,
    as they do when a daemon dies; frames that were in its hands are lost.

    \b
    Examples:
      vnicctl partition restart blue
    """
    change_each("partition.restart", names)


def change_each(method: str, names: Sequence[str]) -> None:
    """Ask for one change after the other, for none if a name is unknown; the exit code is that of the first failure."""
    if len(names) > 1:
        known = {each["name"] for each in call("partition.list")["partitions"]}
        for name in names:
            if name not in known:
                raise NotFound(f"there is no partition {name}, so nothing was changed", alike(name, known))
    failures: list[VnicdError] = []
    for name in names:
        try:
            call(method, {"name": name}, timeout=CHANGE_TIMEOUT)
        except (NotRunning, NotPermitted) as error:  # so it is for the others
            failures.append(error)
            break
        except VnicdError as error:
            failures.append(error)
    raise_all(failures)


@partition.command(name="list")
@click.option(
    "--owner",
    metavar="KEY[=VALUE]",
    multiple=True,
    shell_complete=owners,
    help="Only those whose owner has this; repeatable.",
)
@output_options(names=True, watch=True)
def list_(owner: tuple[str, ...], as_json: bool) -> None:
    """List the partitions.

    RATE is the limit to the uplink and from it; as 100 Mbit/s / 20 Mbit/s, if they
    differ. OWNER is short, as "cni: web" for the container web of podman or containerd;
    `vnicctl partition show NAME` has all of it, and the namespace.

    \b
    Examples:
      vnicctl partition list
      vnicctl partition list --owner app=batch --quiet
      vnicctl partition list --format '{name} {state} {addresses[0]}'
      vnicctl partition ls --json | jq -r '.partitions[].name'
    """
    data = call("partition.list")
    data["partitions"] = [each for each in data["partitions"] if _belongs_to(each, owner)]
    output.emit(data, as_json, _show_list)


def _belongs_to(partition: dict[str, Any], wanted: tuple[str, ...]) -> bool:
    own = partition.get("owner") or {}
    for word in wanted:
        key, sign, value = word.partition("=")
        if key not in own or (sign and own[key] != value):
            return False
    return True


@partition.command()
@name_argument()
@json_option
def show(name: str, as_json: bool) -> None:
    """Show all details of one partition.

    \b
    Examples:
      vnicctl partition show blue
      vnicctl partition show blue --json | jq -r .netns
    """
    output.emit(call("partition.show", {"name": name}), as_json, _show_one)


def _show_list(data: dict[str, Any]) -> None:
    """Rates, gateways and owners have columns when a partition has one.

    Namespaces have one when a partition's is not called as it is, but for those that have an owner: runtimes give long
    names by chance.
    """
    partitions = data["partitions"]
    rows = [
        [
            each["name"],
            each["state"],
            str(each["pid"] or units.NONE),
            *(actual.cell(each, key) for key in ("ifname", "mac", "mtu")),
            units.netns(each["netns"]),
            units.rates(each),
            actual.listed(each, "gateways"),
            container.owner_in_short(each.get("owner") or {}) or units.NONE,
            actual.listed(each, "addresses"),
        ]
        for each in partitions
    ]
    hidden = {
        key.upper()
        for key in ("rate", "gateways", "owner")
        if not any(each.get(key) or (key == "rate" and any(units.both_rates(each))) for each in partitions)
    }
    if partitions and all(
        each.get("owner") or units.netns(each["netns"]) == each["name"] for each in partitions
    ):
        hidden.add("NAMESPACE")
    kept = [index for index, header in enumerate(HEADERS) if header not in hidden]
    output.table(
        [HEADERS[index] for index in kept],
        [[row[index] for index in kept] for row in rows],
        right=("PID", "MTU", "RATE"),
    )
    actual.show_notes(partitions)


def _limits(data: dict[str, Any]) -> list[tuple[str, str]]:
    rate, rate_in = units.both_rates(data)
    if rate == rate_in:
        return [("rate", f"{units.rate(rate)} each way")] if rate else []
    return [
        ("rate", f"{units.rate(rate)} to the uplink" if rate else "no limit to the uplink"),
        ("rate in", f"{units.rate(rate_in)} from the uplink"),
    ]


def _show_one(data: dict[str, Any]) -> None:
    owned = "made by vnicd" if data["netns_owned"] else "attached"
    output.columns(
        [
            ("name", data["name"]),
            ("port", str(data["port"])),
            ("state", actual.state(data)),
            ("pid", str(data["pid"] or units.NONE)),
            ("interface", actual.compared(data, "ifname") + actual.link_state(data)),
            ("mac", actual.compared(data, "mac")),
            ("mtu", actual.compared(data, "mtu")),
            *(("address", address) for address in actual.each_of(data, "addresses")),
            *(("gateway", gateway) for gateway in actual.each_of(data, "gateways")),
            *(("other address", address) for address in actual.others(data, "addresses")),
            *(("other gateway", gateway) for gateway in actual.others(data, "gateways")),
            *_limits(data),
            *(("owner", f"{key}={value}") for key, value in (data.get("owner") or {}).items()),
            ("namespace", f"{data['netns']} ({owned})"),
            ("pages", units.size(data["page_size"])),
            ("restarts", str(data["restarts"])),
            *([("mended", f"{data['mended']} settings put back")] if data.get("mended") else []),
        ]
    )
