"""vnicctl debug: what only somebody needs to see who looks for a fault in vnicd itself."""

from __future__ import annotations

from datetime import datetime
from textwrap import wrap
from typing import Any

import click

from vnicd.cli import output, process, units
from vnicd.cli.client import call
from vnicd.cli.groups import Group
from vnicd.cli.params import HOST, daemon_names, json_option

WIDTH = 80

LAST_NS = 253_000_000_000 * 10**9
"""Nanoseconds from 1970 to a time that can still be shown; a hostile daemon may write any number."""


@click.group(cls=Group)
def debug() -> None:
    """Inspect daemons, to find a fault."""


@debug.command()
@click.argument("one", shell_complete=daemon_names)
@click.argument("other", shell_complete=daemon_names)
@json_option
def link(one: str, other: str, as_json: bool) -> None:
    """Show the memory of a live link.

    That is its cursors and wake words. ONE and OTHER are partitions, or `host`. No
    partition daemon is asked, so this works while one hangs or is stopped. Both sides
    are read one after the other: cursors of a link with traffic need not fit together.

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
    output.emit(call("debug.link", {"from": one, "to": other}), as_json, _show_link, rows="directions")


def _show_link(data: dict[str, Any]) -> None:
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


@debug.command()
@click.argument("name", default=HOST, shell_complete=daemon_names)
@click.option("--lines", type=click.IntRange(min=1), metavar="N", help="Print only the last N records.")
@json_option
def trace(name: str, lines: int | None, as_json: bool) -> None:
    """Show what a daemon did, even a dead one.

    NAME is a partition; without it, or for `host`, it is the hosting daemon. Each
    daemon keeps its last 511 records in memory that outlives it, until the partition
    is removed: registration, orders and reports, changes of its links, faults, stalled
    receivers, requests, signals, errors. A daemon that starts anew goes on behind those
    of the one before. Frames leave no records. No daemon is asked.

    \b
    Examples:
      vnicctl debug trace
      vnicctl debug trace blue --lines 20
      vnicctl debug trace blue --json | jq '.records[] | select(.kind == "gone")'
    """
    data = process.document("trace", name)
    if lines is not None:
        data["records"] = data["records"][-lines:]
    output.emit(data, as_json, _show_trace, rows="records")


def _show_trace(data: dict[str, Any]) -> None:
    who = "the hosting daemon" if data["daemon"] == HOST else f"the daemon of partition {data['daemon']}"
    click.echo(f"{who}, pid {data['pid']}" if data["pid"] else f"{who}, which is dead")
    column = max((len(each["kind"]) for each in data["records"]), default=0) + output.GAP
    day = ""
    for each in data["records"]:
        time = datetime.fromtimestamp(min(each["wall_ns"], LAST_NS) // 1000 / 10**6)
        if day != (day := f"{time:%Y-%m-%d}"):
            click.echo(day)
        start = f"{time:%H:%M:%S.%f}  {each['kind']:{column}}"
        lines = wrap(_details(each), max(WIDTH - len(start), WIDTH // 2)) or [""]
        click.echo(f"{start}{lines[0]}".rstrip())
        for line in lines[1:]:
            click.echo(" " * len(start) + line)


def _details(record: dict[str, Any]) -> str:
    """The text and the values of a record, and the process where another one begins."""
    values = {**record["values"], **({"pid": record["pid"]} if record["kind"] == "started" else {})}
    return " ".join([record["text"], *(f"{name}={value}" for name, value in values.items())]).strip()
