"""vnicctl doctor: what the machine offers, and how to mend what it lacks."""

from __future__ import annotations

import json
from typing import Any

import click

from vnicd.cli import output, process
from vnicd.cli.params import json_option
from vnicd.errors import VnicdError


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check the machine, and say how to mend it.

    Exits with 1 when something is missing that vnicd cannot do without.

    \b
    Examples:
      vnicctl doctor
      vnicctl doctor --json | jq '.checks[] | select(.status != "ok")'
    """
    data = _check()
    output.emit(data, as_json, _show)
    if any(check["status"] == "fail" for check in data["checks"]):
        context.exit(VnicdError.exit_code)


def _check() -> Any:
    done = process.run(process.command("check", "--json"))
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise process.failure("vnicd check", done.returncode, done.stderr) from None


def _show(data: dict[str, Any]) -> None:
    rows = []
    for check in data["checks"]:
        rows.append((check["status"], check["name"], check["detail"]))
        if check["status"] != "ok" and check["remedy"]:
            rows.append(("", "", f"-> {check['remedy']}"))
    output.columns(rows)
