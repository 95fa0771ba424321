"""vnicctl check: whether one partition reaches another, and if not, why and what to do."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import output, units
from vnicd.cli.client import call
from vnicd.cli.params import daemon_names, json_option
from vnicd.config import Paths
from vnicd.errors import VnicdError

WELL = "well"


@click.command()
@click.argument("blue", metavar="BLUE", shell_complete=daemon_names)
@click.argument("green", metavar="GREEN", shell_complete=daemon_names)
@click.option(
    "--tcp",
    "tcp_port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Also connect to this TCP port of GREEN.",
)
@json_option
@click.pass_context
def check(context: click.Context, blue: str, green: str, tcp_port: int | None, as_json: bool) -> None:
    """Find out why BLUE does not reach GREEN.

    Looks into both namespaces, sends echo requests both ways and watches where they
    vanish; then names the cause and the remedy. It changes nothing, and takes 5
    seconds at most. BLUE and GREEN are partitions, or `host` for the machine itself;
    GREEN can be an IP address too, also one outside. The first IPv4 and the first IPv6
    address of GREEN are tried; to try another, name it.

    With --tcp, BLUE has reached GREEN when the port accepts a connection, which is
    closed at once; echo requests may then be filtered, and the service may be there
    for IPv4 or IPv6 alone.

    Exits with 1 when something is wrong, also if probes come through all the same.

    \b
    Examples:
      vnicctl check blue green
      vnicctl check blue green --tcp 5432
      vnicctl check blue 10.77.0.9
      vnicctl check blue host
      vnicctl check blue green --json | jq '.findings[0].cause'
    """
    # It loads what else only daemons need.
    from vnicd.check.investigate import check as find_out

    verdict = find_out(blue, green, tcp_port or 0, Paths.from_environment(), call)
    data = {"from": blue, "to": green, **verdict.to_json()}
    output.emit(data, as_json, _show, rows="steps")
    if not data[WELL]:
        context.exit(VnicdError.exit_code)


def _show(data: dict[str, Any]) -> None:
    families = {step["family"] for step in data["steps"] if step["family"]}
    rows = []
    for step in data["steps"]:
        name = step["name"] if len(families) < 2 or not step["family"] else f"{step['name']} {step['family']}"
        rows.append((step["status"], name, step["detail"] or units.NONE))
    output.columns(rows)
    click.echo()
    lines = []
    for finding in data["findings"]:
        lines += [("cause", finding["cause"]), ("remedy", finding["remedy"])]
    lines += [("note", note) for note in data["notes"]]
    output.columns([("result", _result(data)), *lines])


def _result(data: dict[str, Any]) -> str:
    blue, green = data["from"], data["to"]
    if not data["reached"]:
        return f"{blue} does not reach {green}"
    parts = [f"{blue} reaches {green}"]
    if data["rtt_ms"]:
        parts.append(f"{data['rtt_ms']:.2f} ms there and back")
    if data["path"]:
        parts.append(
            {"direct": "by a direct link", "relay": "by relay"}.get(data["path"], f"by {data['path']}")
        )
    if data["direct_sockets"]:
        parts.append(f"{data['direct_sockets']} TCP connections with direct sockets")
    return ", ".join(parts) + ("" if data[WELL] else "; but something is wrong")
