"""vnicctl apply: makes the running fabric what a file declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vnicd.cli import output
from vnicd.cli.client import call
from vnicd.cli.params import json_option
from vnicd.config import Paths
from vnicd.errors import NotFound, Refused, from_code

SIGNS = {"add": ("+", "green"), "remove": ("-", "red"), "change": ("~", "yellow"), "replace": ("~", "yellow")}

UNSET = {
    "rate": "unlimited",
    "rate_in": "as rate",
    "mtu": "the uplink's",
    "mac": "its own",
    "netns": "its own",
}
"""What a field that is not set stands for."""

APPLY_TIMEOUT_S, APPLY_TIMEOUT_EACH_S = 30.0, 5.0
"""Seconds that all may take, and each partition in addition; on an idle machine it is a tenth of a second each."""


@click.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--dry-run", is_flag=True, help="Only check and show the changes.")
@click.option("--allow-empty", is_flag=True, help="Remove everything if FILE declares nothing.")
@json_option
def apply(file: str | None, dry_run: bool, allow_empty: bool, as_json: bool) -> None:
    """Make the running fabric what FILE declares.

    What FILE does not declare is removed, except partitions with an owner.

    FILE is /etc/vnicd/vnicd.toml if none is named, or the file of the --network, and
    standard input if it is -.
    Only what differs is changed; the traffic of everything else goes on, and so do
    connections of a partition whose rate, addresses, gateways or MTU change. With
    another mac, ifname or netns it is made anew. A FILE without uplink and
    partitions removes none, unless --allow-empty says so.

    All changes are checked first, against the machine as it is. If one can't be
    made, none is: everything in the way is listed, and the exit code is 16. So
    it is with --dry-run, too.

    \b
    An example of a file:
      [uplink]
      nic = "eth1"
      mode = "nat"
      [partitions.web]
      rate = "100mbit"
      publish = ["8080:80"]
      [partitions.db]
      addresses = ["10.78.0.20/24"]

    \b
    Examples:
      vnicctl apply --dry-run
      vnicctl apply lab.toml
      vnicctl config export | vnicctl apply -
    """
    from vnicd.spec import fabric_file

    paths = Paths.from_environment()
    usual = str(paths.declaration) if paths.network else fabric_file.DEFAULT_FILE
    file = file or usual
    streams = file != usual  # that one is applied by systemd as well
    try:
        declared = fabric_file.load(fabric_file.STDIN if file == "-" else Path(file), streams)
    except NotFound as error:
        if not streams:
            error.hint = "name one: vnicctl apply FILE, or write it: vnicctl config export"
        raise
    params = {"declared": fabric_file.to_json(declared), "dry_run": dry_run, "allow_empty": allow_empty}
    timeout = APPLY_TIMEOUT_S + APPLY_TIMEOUT_EACH_S * len(declared.partitions)
    answer = call("fabric.apply", params, timeout=timeout)
    output.emit(answer, as_json, lambda answer: _show(answer, dry_run), rows="changes")
    if answer["refused"]:
        count = sum(bool(each["obstacles"]) for each in answer["changes"])
        what = "one change" if count == 1 else f"{count} changes"
        raise Refused(f"nothing was changed: {what} can't be made", "mend that, and apply it again")
    failed = next((each["error"] for each in answer["changes"] if each["error"]), None)
    if failed is not None:
        raise from_code(failed["code"], failed["message"], failed["hint"])
    if answer["kept"] and not as_json:
        kept = ", ".join(answer["kept"])
        source = "standard input" if file == "-" else file
        text = f"{source} declares nothing, so this stays: {kept}; --allow-empty removes it"
        click.echo(output.for_errors(text), err=True)


def _show(answer: dict[str, Any], dry_run: bool) -> None:
    """A line for each change."""
    if not answer["changes"]:
        click.echo("nothing to change")
    for change in answer["changes"]:
        output.say(_line(change))
        for obstacle in change["obstacles"]:
            output.say(click.style(f"  can't be made: {_whole(obstacle)}", fg="red"), indent=" " * 4)
    if removed := [each["name"] for each in answer["changes"] if each["op"] == "remove" and each["done"]]:
        output.note(f"removed: {', '.join(removed)}")
    if dry_run and answer["changes"] and not answer["refused"]:
        click.echo("nothing was changed: --dry-run")


def _whole(error: dict[str, str]) -> str:
    hint = "" if "--" in error["hint"] else error["hint"]  # words of the command line are not the file's
    return from_code(error["code"], error["message"], hint).line()


def _line(change: dict[str, Any]) -> str:
    sign, colour = SIGNS[change["op"]]
    what = change["kind"] if change["kind"] == "uplink" else f"{change['kind']} {change['name']}"
    if change["kind"] == "uplink" and change["op"] != "change":
        what += f" {change['name']}"
    if change["op"] in ("change", "replace"):
        fields = (field_text(change["kind"], key, *values) for key, values in change["fields"].items())
        what += f": {', '.join(fields)}"
    notes = ["is made anew"] * (change["op"] == "replace") + [change["note"]] * bool(change["note"])
    line = click.style(f"{sign} {what}", fg=colour) + (f" ({', '.join(notes)})" if notes else "")
    return line + (
        click.style(f": failed: {change['error']['message']}", fg="red") if change["error"] else ""
    )


def field_text(kind: str, key: str, old: Any, new: Any) -> str:
    """rate 100mbit -> 200mbit; of lists only what comes and goes; without the name of an option, which is there."""
    if isinstance(old or new, list):
        before, after = old or [], new or []
        gone = [f"-{each}" for each in before if each not in after]
        return " ".join([key, *gone, *(f"+{each}" for each in after if each not in before)])
    values = f"{_value(key, old)} -> {_value(key, new)}"
    return values if kind == "option" else f"{key} {values}"


def _value(key: str, value: Any) -> str:
    from vnicd.spec.fabric_file import rate_text

    if value is None or value == "":
        return UNSET.get(key, "none")
    if isinstance(value, bool):
        return str(value).lower()
    return (
        rate_text(value)
        if key in ("rate", "rate_in")
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
