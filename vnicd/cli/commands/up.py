"""vnicctl up: starts the hosting daemon and waits until it is ready."""

from __future__ import annotations

import os
from typing import get_args

import click
from click.core import ParameterSource

from vnicd.cli import output
from vnicd.cli.fabrics import making
from vnicd.cli.fabrics.starting import start_fabric
from vnicd.cli.params import one_of
from vnicd.config import NAMES, HugepageMode, LogLevel, Options, Paths, make_options, option_words
from vnicd.errors import AlreadyRunning, NotPermitted, VnicdError


@click.command()
@click.option(
    "--hugepages",
    metavar="MODE",
    shell_complete=one_of(*get_args(HugepageMode)),
    default="auto",
    show_default=True,
    help="auto, require or never.",
)
@click.option(
    "--idle-timeout",
    metavar="SECONDS",
    type=float,
    default=Options.idle_timeout,
    show_default=True,
    help="Free a direct link's memory after so long without a frame.",
)
@click.option(
    "--poll-us",
    metavar="N",
    type=int,
    default=Options.poll_us,
    show_default=True,
    help="Microseconds that an idle loop looks for work before it sleeps.",
)
@click.option(
    "--log-level",
    metavar="LEVEL",
    shell_complete=one_of(*get_args(LogLevel)),
    help="Lowest level that is logged: debug, info, warning or error.  [default: info]",
)
@click.option(
    "--names",
    metavar="MODE",
    shell_complete=one_of(*NAMES),
    default="on",
    show_default=True,
    help="Partitions find each other by name: on, local (and other names are not forwarded) or off.",
)
@click.pass_context
def up(
    context: click.Context,
    hugepages: str,
    idle_timeout: float,
    poll_us: int,
    log_level: str | None,
    names: str,
) -> None:
    """Start the fabric, and return when it is ready.

    When the hosting daemon had died, it takes up the partitions that are still there.
    Networks (`vnicctl network`) whose hosting daemon is dead are started, too.

    \b
    Examples:
      vnicctl up
      vnicctl up --hugepages require
      vnicctl --network lab up
      VNICD_RUNTIME_DIR=/run/lab vnicctl up      # a second fabric beside the first
    """
    mode = NAMES.get(names, names)
    options = make_options(hugepages, idle_timeout, poll_us, log_level or Options.log_level, mode)
    if os.geteuid() != 0:
        raise NotPermitted("only root can start a fabric", "for example: sudo vnicctl up")
    given = {
        name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    paths = Paths.from_environment()
    if paths.network:
        pid = making.start(paths, _words(options, given))
        click.echo(f"network {paths.network} is up: pid {pid}, {paths.root}")
        return
    error: VnicdError | None = None
    try:
        level = {"log_level"} & given  # else that of the environment counts
        pid = start_fabric(_words(options, {"hugepages", "idle_timeout", "poll_us", "names", *level}))
        click.echo(f"vnicd is up: pid {pid}, {paths.root}")
    except AlreadyRunning as running:
        error = running
    started = making.start_all()
    for name, outcome in started.items():
        if isinstance(outcome, VnicdError):
            output.warn(f"network {name} can't be started: {outcome.line()}")
        else:
            click.echo(f"network {name} is up: pid {outcome}, {paths.of_network(name).root}")
    if error is not None and not started:
        raise error


def _words(options: Options, names: set[str]) -> list[str]:
    """The options of these names as `vnicd host` takes them; what is left out, it finds in its file or environment."""
    known = ("hugepages", "idle_timeout", "poll_us", "names", "log_level")
    return [
        word for name in known if name in names for word in option_words(name, getattr(options, name)).split()
    ]
