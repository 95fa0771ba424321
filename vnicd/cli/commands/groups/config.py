"""vnicctl config: the running fabric as a file that declares it."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import output
from vnicd.cli.client import call
from vnicd.cli.groups import Group
from vnicd.cli.params import json_option


@click.group(cls=Group)
def config() -> None:
    """Export the fabric as a file."""


@config.command()
@json_option
def export(as_json: bool) -> None:
    """Print the running fabric as a file for `vnicctl apply`.

    \b
    Examples:
      vnicctl config export > /etc/vnicd/vnicd.toml
      vnicctl config export | vnicctl apply -      # changes nothing
    """
    output.emit(call("config.export"), as_json, _show)


def _show(answer: dict[str, Any]) -> None:
    from vnicd.spec import fabric_file

    click.echo(fabric_file.render(fabric_file.from_json(answer["declared"])), nl=False)
