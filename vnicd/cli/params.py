"""Parameters that several commands share, with their completion."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from vnicd.cli import output
from vnicd.cli.client import call
from vnicd.cli.printing.template import Template
from vnicd.cli.units import NETNS_DIRECTORY
from vnicd.config import Paths

Command = TypeVar("Command", bound=Callable[..., Any])

COMPLETION_TIMEOUT = 0.5
"""Seconds that the completion of a name waits for the hosting daemon."""

WATCH_EVERY_S = 2.0


class Seconds(click.FloatRange):
    """Without what is no amount of time, such as nan, which is neither too little nor too much."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


def output_options(*, names: bool = False, watch: bool = False) -> Callable[[Command], Command]:
    """The options of a command that prints what is there; it is given `as_json`, and ends in output.emit().

    `names`: its rows have names, which --quiet prints alone. `watch`: it only reads, and can be repeated.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            *args: Any,
            as_json: bool,
            template: str | None,
            quiet: bool = False,
            every: float | None = None,
            **more: Any,
        ) -> None:
            context = click.get_current_context()
            form = _form(as_json, template, quiet)
            context.meta[output.META] = form
            show = functools.partial(command, *args, as_json=form.as_json, **more)
            if every is None:
                show()
            else:
                from vnicd.cli.printing.watch import repeat

                repeat(show, every)

        options = [
            click.option(
                "--json", "as_json", is_flag=True, help="Print one JSON document, also for an error."
            )
        ]
        options.append(
            click.option(
                "--format",
                "template",
                metavar="FORMAT",
                help="Print a line for each row, such as '{name} {state}': fields of the JSON document.",
            )
        )
        if names:
            options.append(click.option("-q", "--quiet", is_flag=True, help="Print only the names."))
        if watch:
            options.append(
                click.option(
                    "--watch",
                    "every",
                    metavar="[SECONDS]",
                    is_flag=False,
                    flag_value=str(WATCH_EVERY_S),
                    shell_complete=_instead_of_seconds,
                    type=Seconds(min=0.1, max=86400),
                    help="Repeat every 2 seconds, or every SECONDS, until Ctrl-C.",
                )
            )
        decorated: Any = run
        for option in reversed(options):
            decorated = option(decorated)
        return cast(Command, decorated)

    return decorate


json_option = output_options()
"""Those of a command that has nothing to name or to watch."""


def _instead_of_seconds(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names that may follow --watch, as its number may be left out."""
    has_name = any(each.name == "name" for each in context.command.params)
    return partition_names(context, parameter, incomplete) if has_name else []


def _form(as_json: bool, template: str | None, quiet: bool) -> output.Form:
    if sum((as_json, template is not None, quiet)) > 1:
        raise click.UsageError("--json, --format and --quiet exclude each other", click.get_current_context())
    if as_json or template == "json":
        return output.Form(as_json=True)
    text = "{name}" if quiet else template
    try:
        return output.Form(template=None if text is None else Template(text))
    except ValueError as error:
        raise click.UsageError(f"--format: {error}", click.get_current_context()) from error


def partition_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The partitions whose names begin with `incomplete`; none when the fabric is not running."""
    try:
        partitions = call("partition.list", timeout=COMPLETION_TIMEOUT)["partitions"]
        return [each["name"] for each in partitions if each["name"].startswith(incomplete)]
    # A shell that completes a word has no place for an error, whatever it is.
    except Exception:
        return []


def network_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The networks but the default one whose names begin with `incomplete`."""
    try:
        return [name for name in Paths.from_environment().network_names() if name.startswith(incomplete)]
    except Exception:
        return []


def owners(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """What partitions have as owners, as KEY and KEY=VALUE."""
    try:
        partitions = call("partition.list", timeout=COMPLETION_TIMEOUT)["partitions"]
        pairs = [pair for each in partitions for pair in (each.get("owner") or {}).items()]
    except Exception:
        return []
    words = [word for key, value in pairs for word in (key, f"{key}={value}")]
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete)]


def one_of(*words: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """The completion of an option that is one of these words."""
    return lambda context, parameter, incomplete: [word for word in words if word.startswith(incomplete)]


def namespaces(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Namespaces that have a name, or the files of a path."""
    if "/" in incomplete:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]
    try:
        return sorted(name for name in os.listdir(NETNS_DIRECTORY) if name.startswith(incomplete))  # noqa: PTH208
    except OSError:
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
