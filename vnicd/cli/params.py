"""Parameters that several commands share, with their completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from vnicd.cli.client import call

Command = TypeVar("Command", bound=Callable[..., Any])

COMPLETION_TIMEOUT = 0.5
"""Seconds that the completion of a name waits for the hosting daemon."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def partition_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The partitions whose names begin with `incomplete`; none when the fabric is not running."""
    try:
        partitions = call("partition.list", timeout=COMPLETION_TIMEOUT)["partitions"]
        return [each["name"] for each in partitions if each["name"].startswith(incomplete)]
    # A shell that completes a word has no place for an error, whatever it is.
    except Exception:
        return []


HOST = "host"
"""What the hosting daemon is called beside the partitions."""


def daemon_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The partitions, and `host`, whose names begin with `incomplete`."""
    names = partition_names(context, parameter, incomplete)
    return [*names, *([HOST] if HOST.startswith(incomplete) else [])]


def name_argument(**more: Any) -> Callable[[Command], Command]:
    """The NAME of a partition that exists."""
    return click.argument("name", shell_complete=partition_names, **more)


def names_argument() -> Callable[[Command], Command]:
    """One or more NAMEs of partitions that exist, each once."""
    return click.argument(
        "names",
        nargs=-1,
        required=True,
        metavar="NAME...",
        shell_complete=partition_names,
        callback=lambda context, parameter, names: tuple(dict.fromkeys(names)),
    )
