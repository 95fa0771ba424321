"""vnicctl sockets: the connections that are direct, and why others are not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from vnicd.cli import library, output, units
from vnicd.cli.client import call
from vnicd.cli.params import output_options

HEADERS = ("CLIENT", "SERVER", "STATE", "SENT", "RECEIVED", "PROGRAMS")
NUMBERS = ("SENT", "RECEIVED")
REASON_HEADERS = ("PROGRAM", "PID", "PARTITION", "OTHER END", "TIMES", "AGO", "NOT DIRECT BECAUSE")


@click.command()
@click.option(
    "--library", "only_library", is_flag=True, help="Only print the library's path, for LD_PRELOAD."
)
@output_options(watch=True)
def sockets(only_library: bool, as_json: bool) -> None:
    """List direct TCP connections.

    And tell why other connections are not direct. A container is shown by its name, or
    else its id, instead of its partition. Bytes are those of the whole connection, as
    the client sees them; --json has addresses and wake-ups as well. Only programs that
    were started with the library are listed: with exec --direct, or with its path in
    LD_PRELOAD, but without VNICD_DIRECT=0. The client knows the reason best, while it
    runs.

    \b
    A connection's state:
      offered     nobody has accepted it yet
      up          both ends are open
      closing     one end is closed, or shut for writing
      closed      both are
      reset       an end has reset it
      half-known  one of the two programs has not been found

    \b
    Examples:
      vnicctl sockets
      vnicctl sockets --json | jq '.connections[] | {client, server, state}'
      LD_PRELOAD=$(vnicctl sockets --library) ip netns exec db redis-server
    """
    if only_library and as_json:
        raise click.UsageError("--library prints a path, and --json what is direct: use one of them")
    if only_library:
        click.echo(library.path())
        return
    output.emit(call("sockets.list"), as_json, _show, rows="connections")


def _show(data: dict[str, Any]) -> None:
    output.table(HEADERS, [row(each) for each in data["connections"]], right=NUMBERS)
    reasons = [each for program in data["processes"] for each in reason_rows(program)]
    if reasons:
        click.echo()
        output.table(REASON_HEADERS, reasons, right=("PID", "TIMES"))
    if not data["connections"] and not data["processes"]:
        output.note("no program runs with the library: see vnicctl exec --direct")
    if data["truncated"]:
        output.note("there are more than could be looked at in time")


def row(connection: dict[str, Any]) -> list[str]:
    client, server = connection["client"], connection["server"]
    return [
        _end(client),
        _end(server),
        connection["state"],
        units.size(client["sent"]),
        units.size(server["sent"]),
        f"{_program(client)} - {_program(server)}",
    ]


def _end(end: dict[str, Any]) -> str:
    """An end as container or partition and port: blue:40000; with its address where that belongs to none."""
    name = end.get("container") or end["partition"] or end["address"] or "?"
    return f"[{name}]:{end['port']}" if ":" in name else f"{name}:{end['port']}"


def _program(end: dict[str, Any]) -> str:
    if not end["pids"]:
        return "?"
    first, *others = end["pids"]
    more = f" and {len(others)} more" if others else ""
    return f"{end['program']} ({first}{more})"


def reason_rows(program: dict[str, Any]) -> list[list[str]]:
    """A row for each other end and reason, the last first.

    A client's port is another one each time, so an accepting program's rows have the address alone. How often is known
    of each reason; where it has several other ends, it is known of the last connections only.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in program["recent"]:
        end = each["target"] or units.NONE
        groups.setdefault(
            (end.rpartition(":")[0] if each["why"] == "no_offer" else end, each["why"]), []
        ).append(each)
    ends = Counter(why for _, why in groups)
    return [
        [
            program["program"],
            str(program["pid"]),
            program.get("container") or program["partition"] or units.NONE,
            end,
            units.count(program["decided"].get(why, len(those)) if ends[why] == 1 else len(those)),
            units.duration(min(each["ago_s"] for each in those)),
            those[0]["reason"],
        ]
        for (end, why), those in groups.items()
    ]
