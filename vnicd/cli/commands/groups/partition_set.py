"""vnicctl partition set: changes a running partition."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli.client import call
from vnicd.cli.commands.apply import field_text
from vnicd.cli.commands.groups.partition import CHANGE_TIMEOUT
from vnicd.cli.params import name_argument

AUTO = "auto"

SHOWN = ("addresses", "gateways", "mtu", "rate", "rate_in")


@click.command(name="set")
@name_argument()
@click.option(
    "--address",
    "addresses",
    metavar="CIDR",
    multiple=True,
    help="All the addresses it is to have; repeatable.",
)
@click.option("--no-address", is_flag=True, help="Remove all addresses.")
@click.option(
    "--gateway",
    "gateways",
    metavar="ADDRESS",
    multiple=True,
    help="Gateway of its default route; one for IPv4, one for IPv6.",
)
@click.option("--no-gateway", is_flag=True, help="Remove the default routes.")
@click.option("--mtu", metavar="N|auto", help="Largest packet in bytes; auto for that of the uplink's NIC.")
@click.option(
    "--rate", metavar="RATE", help="Limit in bits per second, both to and from the uplink; 0 for none."
)
@click.option("--rate-in", metavar="RATE", help="Limit from the uplink; 0 for the same as --rate.")
@click.option("--name", "new_name", hidden=True)
@click.option("--mac", hidden=True)
@click.option("--ifname", hidden=True)
@click.option("--netns", hidden=True)
@click.option("--owner", hidden=True, multiple=True)
def set_(
    *,
    name: str,
    addresses: tuple[str, ...],
    no_address: bool,
    gateways: tuple[str, ...],
    no_gateway: bool,
    mtu: str | None,
    rate: str | None,
    rate_in: str | None,
    new_name: str | None,
    **fixed: Any,
) -> None:
    """Change a running partition.

    What is not named stays. Its interface and its programs stay too, and so do
    connections over addresses that it keeps. Name, MAC, interface name, namespace
    and owner cannot change: remove the partition and add it anew.
    A file that is applied later sets what it declares.

    \b
    Examples:
      vnicctl partition set blue --rate 100mbit --rate-in 20mbit
      vnicctl partition set blue --address 10.77.0.5/24 --address fd77::5/64
      vnicctl partition set blue --no-gateway --mtu auto --rate 0
    """
    from vnicd.spec.plan import check_live

    check_live(name, [key for key, value in {**fixed, "name": new_name}.items() if value])
    words = {
        "addresses": _listed("address", addresses, no_address),
        "gateways": _listed("gateway", gateways, no_gateway),
        "rate": rate,
        "rate_in": rate_in,
    }
    params: dict[str, Any] = {key: value for key, value in words.items() if value is not None}
    if mtu is not None:
        params["mtu"] = None if mtu == AUTO else int(mtu) if mtu.isdecimal() else mtu
    if not params:
        raise click.UsageError("name what is to change")
    after = call("partition.set", {"name": name, **params}, timeout=CHANGE_TIMEOUT)
    click.echo(f"{name}: {', '.join(_changed(after['before'], after)) or 'nothing to change'}")


def _listed(option: str, words: tuple[str, ...], none: bool) -> list[str] | None:
    """What is to be there instead; None to leave it. An empty word stands for none as well."""
    given = [word for word in words if word]
    if none and given:
        raise click.UsageError(f"--{option} and --no-{option} are given together")
    return given if words or none else None


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs, in the words of apply."""
    return [
        field_text("partition", key, _told(key, before), _told(key, after))
        for key in SHOWN
        if before.get(key) != after.get(key) and _told(key, before) != _told(key, after)
    ]


def _told(key: str, data: dict[str, Any]) -> Any:
    """What is shown of a partition is what it has, and not what it has it from: a `rate_in` that follows the rate."""
    value = data.get(key)
    return None if key == "rate_in" and value == data.get("rate") else value
