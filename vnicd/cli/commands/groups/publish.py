"""vnicctl publish: single ports of the machine that lead to partitions, behind an uplink in nat mode."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import output, units
from vnicd.cli.client import call
from vnicd.cli.groups import Group
from vnicd.cli.params import COMPLETION_TIMEOUT, output_options, partition_names

CHANGE_TIMEOUT = 30.0
"""Seconds that a change may take on a busy machine; it is milliseconds on an idle one."""

STATES = {
    "no-partition": "there is no partition {partition} now; it leads there when one is added",
    "no-address": "partition {partition} has no address for it: vnicctl partition set {partition} --address ...",
}


def new_ports(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The partition after the machine's port; bash makes a word end at the colon, other shells don't."""
    head, _, name = incomplete.rpartition(":")
    if not head.rpartition(":")[2].isdigit():
        return []
    return [f"{head}:{found}:" for found in partition_names(context, parameter, name)]


def _old_ports(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        found = [each["publish"] for each in call("publish.list", timeout=COMPLETION_TIMEOUT)["published"]]
        return [text for text in found if text.startswith(incomplete)]
    # A shell that completes a word has no place for an error, whatever it is.
    except Exception:
        return []


@click.group(cls=Group, aliases={"ls": "list", "rm": "remove", "del": "remove"})
def publish() -> None:
    """Forward ports of the machine to partitions (nat mode)."""


@publish.command()
@click.argument(
    "ports", metavar="[ADDRESS:]PORT:NAME:PORT[/udp]...", nargs=-1, required=True, shell_complete=new_ports
)
def add(ports: tuple[str, ...]) -> None:
    """Forward ports of the machine to partitions.

    A port answers on ADDRESS, or on all addresses of the machine; for the machine itself
    also on 127.0.0.1, but not on ::1. With 127.0.0.1 as ADDRESS only the machine itself
    can use it. Connections by other ports go on. All PORTs are published or none: not
    if a program on the machine uses one, or if it is published already.

    \b
    Examples:
      vnicctl publish add 8080:web:80
      vnicctl publish add 10.0.0.2:53:dns:53/udp '[2001:db8::2]:443:web:443'
      vnicctl publish add 127.0.0.1:5432:db:5432
    """
    from vnicd.spec.uplink import parse_publish

    words = [str(parse_publish(text)) for text in ports]
    for each in call("publish.add", {"publish": words}, timeout=CHANGE_TIMEOUT)["published"]:
        if each["state"] in STATES:
            output.warn(f"{each['publish']}: {STATES[each['state']].format(**each)}")


@publish.command()
@click.argument(
    "ports", metavar="[ADDRESS:]PORT[/udp]...", nargs=-1, required=True, shell_complete=_old_ports
)
def remove(ports: tuple[str, ...]) -> None:
    """Stop publishing a port.

    It can also be named as it was published, as 8080:web:80. Connections by other
    ports go on.

    \b
    Examples:
      vnicctl publish remove 8080
      vnicctl publish rm 10.0.0.2:53/udp 8443:web:443
    """
    call("publish.remove", {"publish": list(ports)}, timeout=CHANGE_TIMEOUT)


@publish.command(name="list")
@output_options(watch=True)
def list_(as_json: bool) -> None:
    """List the published ports and their targets.

    \b
    Examples:
      vnicctl publish list
      vnicctl publish ls --json | jq -r '.published[].publish'
    """
    output.emit(call("publish.list"), as_json, _show)


def _show(answer: dict[str, Any]) -> None:
    rows = [
        (
            each["address"] or "all",
            f"{each['port']}/{each['protocol']}",
            each["partition"],
            str(each["target_port"]),
            each["state"],
            ", ".join(to.rpartition(":")[0] for to in each["to"]) or units.NONE,
        )
        for each in answer["published"]
    ]
    output.table(("ADDRESS", "PORT", "PARTITION", "ITS PORT", "STATE", "LEADS TO"), rows, right=("ITS PORT",))
