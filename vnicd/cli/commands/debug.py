"""vnicctl debug: what only somebody needs to see who looks for a fault in vnicd itself."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import output, units
from vnicd.cli.client import call
from vnicd.cli.groups import Group
from vnicd.cli.params import json_option, partition_names

HOST = "host"


def _ends(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    names = partition_names(context, parameter, incomplete)
    return [*names, *([HOST] if HOST.startswith(incomplete) else [])]


@click.group(cls=Group)
def debug() -> None:
    """Look into running daemons, to find a fault."""


@debug.command()
@click.argument("one", shell_complete=_ends)
@click.argument("other", shell_complete=_ends)
@json_option
def link(one: str, other: str, as_json: bool) -> None:
    """Show what stands in the memory of a live link: cursors and wake words.

    ONE and OTHER are partitions, or `host`. Nobody is asked, so this also works
    while a daemon hangs or is stopped. Both sides are read one after the other:
    cursors of a link with traffic need not fit together.

    \b
    HEAD, TAIL  bytes written and read since the link was made
    UNREAD      what is in the ring
    ARMED       whether the next record makes the writer ring the doorbell
    WANTS ROOM  whether the writer waits for room in the ring
    CPU         where the reader looks at the link, if it does not sleep

    \b
    Examples:
      vnicctl debug link blue green
      vnicctl debug link host blue --json
    """
    output.emit(call("debug.link", {"from": one, "to": other}), as_json, _show)


def _show(data: dict[str, Any]) -> None:
    click.echo(f"link {data['link_id']}, {data['state']}")
    headers = ("FROM", "TO", "HEAD", "TAIL", "UNREAD", "ARMED", "WANTS ROOM", "CPU")
    rows = [
        [
            way["from"],
            way["to"],
            str(way["head"]),
            str(way["tail"]),
            units.size(way["unread"]),
            units.yes(way["is_armed"]),
            units.yes(way["waits_for_room"]),
            "-" if way["cpu"] is None else str(way["cpu"]),
        ]
        for way in data["directions"]
    ]
    output.table(headers, rows, right=("HEAD", "TAIL", "UNREAD", "CPU"))
    click.echo()
    keys = ("pid", "rounds", "sleeps", "holds", "link_faults")
    numbers = [key.upper().replace("_", " ") for key in keys]
    rows = [[each["name"], *(str(each[key]) for key in keys)] for each in data["daemons"]]
    output.table(("DAEMON", *numbers), rows, right=numbers)
