"""vnicctl sockets: the connections that are direct, and why others are not."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import library, output, units
from vnicd.cli.client import call
from vnicd.cli.params import json_option

HEADERS = ("CLIENT", "SERVER", "STATE", "SENT", "RECEIVED", "WAKEUPS", "PROGRAMS")
NUMBERS = ("SENT", "RECEIVED", "WAKEUPS")
REASON_HEADERS = ("PROGRAM", "PID", "PARTITION", "TARGET", "AGO", "NOT DIRECT BECAUSE")


@click.command()
@click.option(
    "--library", "only_library", is_flag=True, help="Only print the library's path, for LD_PRELOAD."
)
@json_option
def sockets(only_library: bool, as_json: bool) -> None:
    """Tell which TCP connections are direct, and why others are not.

    Bytes and wake-ups are those of the whole connection, as the client sees them.
    Only programs that were started with the library are listed: with exec --direct,
    or with its path in LD_PRELOAD.

    \b
    Examples:
      vnicctl sockets
      vnicctl sockets --json | jq '.connections[] | {client, server, state}'
      Environment=LD_PRELOAD=...        # in a unit: what vnicctl sockets --library prints
    """
    if only_library:
        click.echo(library.path())
        return
    output.emit(call("sockets.list"), as_json, _show)


def _show(data: dict[str, Any]) -> None:
    output.table(HEADERS, [_row(each) for each in data["connections"]], right=NUMBERS)
    reasons = [_reason(program, each) for program in data["processes"] for each in program["recent"]]
    if reasons:
        click.echo()
        output.table(REASON_HEADERS, reasons, right=("PID",))
    if data["truncated"]:
        output.note("there are more than could be looked at in time")


def _row(connection: dict[str, Any]) -> list[str]:
    client, server = connection["client"], connection["server"]
    known = [end["wakeups"] for end in (client, server) if end["wakeups"] is not None]
    return [
        _end(client),
        _end(server),
        connection["state"],
        units.size(client["sent"]),
        units.size(server["sent"]),
        units.count(sum(known)),
        f"{_program(client)} - {_program(server)}",
    ]


def _end(end: dict[str, Any]) -> str:
    """An end as name and address: blue 10.77.0.1:40000."""
    address = end["address"] or "?"
    text = f"[{address}]:{end['port']}" if ":" in address else f"{address}:{end['port']}"
    return f"{end['partition']} {text}" if end["partition"] else text


def _program(end: dict[str, Any]) -> str:
    if not end["pids"]:
        return "?"
    first, *others = end["pids"]
    more = f" and {len(others)} more" if others else ""
    return f"{end['program']} ({first}{more})"


def _reason(program: dict[str, Any], decision: dict[str, Any]) -> list[str]:
    return [
        program["program"],
        str(program["pid"]),
        program["partition"] or units.NONE,
        decision["target"] or units.NONE,
        units.duration(decision["ago_s"]),
        decision["reason"],
    ]
