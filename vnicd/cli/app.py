"""The command tree of vnicctl: a file for each command, imported when it is used."""

from __future__ import annotations

import os

import click

import vnicd
from vnicd.cli.groups import Group

NAME = "vnicctl"
COMPLETE_VARIABLE = "_VNICCTL_COMPLETE"

COMMANDS = {
    "up": "vnicd.cli.commands.up:up",
    "down": "vnicd.cli.commands.down:down",
    "partition": "vnicd.cli.commands.partition:partition",
    "uplink": "vnicd.cli.commands.uplink:uplink",
    "apply": "vnicd.cli.commands.apply:apply",
    "config": "vnicd.cli.commands.config:config",
    "exec": "vnicd.cli.commands.exec:exec_",
    "status": "vnicd.cli.commands.status:status",
    "links": "vnicd.cli.commands.links:links",
    "sockets": "vnicd.cli.commands.sockets:sockets",
    "stats": "vnicd.cli.commands.stats:stats",
    "logs": "vnicd.cli.commands.logs:logs",
    "debug": "vnicd.cli.commands.debug:debug",
    "doctor": "vnicd.cli.commands.doctor:doctor",
    "completion": "vnicd.cli.commands.completion:completion",
}
"""The commands in the order of the help, each with the object that it is."""


@click.group(cls=Group, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(vnicd.__version__, prog_name=NAME, message="%(prog)s %(version)s")
def vnicctl() -> None:
    """Gives network namespaces virtual NICs that talk through shared memory.

    \b
    Two partitions that ping each other:
      vnicctl up
      vnicctl partition add blue  --address 10.77.0.1/24
      vnicctl partition add green --address 10.77.0.2/24
      vnicctl exec blue -- ping -c 3 10.77.0.2
      vnicctl down

    VNICD_RUNTIME_DIR (default /run/vnicd) names the fabric that is meant: fabrics
    with different directories don't notice each other.
    """


def run(words: list[str]) -> int:
    """Runs one command line, or answers the shell's completion; the exit code."""
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(vnicctl, {}, NAME, COMPLETE_VARIABLE, instruction)
    try:
        with vnicctl.make_context(NAME, words) as context:
            vnicctl.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    return 0
