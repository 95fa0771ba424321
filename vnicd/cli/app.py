"""The command tree of vnicctl: a file for each command, imported when it is used."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import click

import vnicd
from vnicd.cli import output
from vnicd.cli.groups import Group
from vnicd.cli.params import network_names
from vnicd.errors import VnicdError

NAME = "vnicctl"
COMPLETE_VARIABLE = "_VNICCTL_COMPLETE"

COMMANDS = {
    "up": "vnicd.cli.commands.up:up",
    "down": "vnicd.cli.commands.down:down",
    "partition": "vnicd.cli.commands.groups.partition:partition",
    "network": "vnicd.cli.commands.groups.network:network",
    "uplink": "vnicd.cli.commands.groups.uplink:uplink",
    "publish": "vnicd.cli.commands.groups.publish:publish",
    "containers": "vnicd.cli.commands.groups.containers:containers",
    "apply": "vnicd.cli.commands.apply:apply",
    "config": "vnicd.cli.commands.groups.config:config",
    "exec": "vnicd.cli.commands.exec:exec_",
    "status": "vnicd.cli.commands.status:status",
    "links": "vnicd.cli.commands.links:links",
    "sockets": "vnicd.cli.commands.sockets:sockets",
    "stats": "vnicd.cli.commands.stats:stats",
    "logs": "vnicd.cli.commands.logs:logs",
    "debug": "vnicd.cli.commands.groups.debug:debug",
    "check": "vnicd.cli.commands.check:check",
    "doctor": "vnicd.cli.commands.doctor:doctor",
    "completion": "vnicd.cli.commands.completion:completion",
}
"""The commands in the order of the help, each with the object that it is."""


SHORT_FORMS = {
    "ls": "vnicd.cli.commands.groups.partition:list_",
    "rm": "vnicd.cli.commands.groups.partition:remove",
}
"""What users of docker and podman type; the help of vnicctl tells of them, and lists them not."""

FOREIGN_WORDS = {
    "start": "up",
    "stop": "down",
    "run": "exec",
    "ps": "partition list",
    "create": "partition add",
    "delete": "partition remove",
    "top": "stats --watch",
    "help": "--help",
    "version": "--version",
}
"""What other programs call what we have: an error names ours."""


def _choose_network(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Have all that follows go to a network, by the variable that everything of vnicd follows."""
    if not name:
        return
    from vnicd.cli.fabrics import networks

    try:
        os.environ[networks.VARIABLE] = str(networks.paths_of(name).root)
    except VnicdError:
        if not context.resilient_parsing:  # a completion has no place for an error
            raise
    os.environ.pop("VNICD_NETWORK", None)


@click.group(
    cls=Group,
    lazy=COMMANDS,
    short_forms=SHORT_FORMS,
    foreign_words=FOREIGN_WORDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--network",
    metavar="NAME",
    envvar="VNICD_NETWORK",
    is_eager=True,
    expose_value=False,
    callback=_choose_network,
    shell_complete=network_names,
    help="The network that is meant, if not the default one.",
)
@click.version_option(vnicd.__version__, prog_name=NAME, message="%(prog)s %(version)s")
def vnicctl() -> None:
    """Gives network namespaces virtual NICs that talk through shared memory.

    \b
    Two partitions that ping each other:
      vnicctl up
      vnicctl partition add blue  --address 10.77.0.1/24
      vnicctl partition add green --address 10.77.0.2/24
      vnicctl exec blue -- ping -c 3 green
      vnicctl down

    `vnicctl ls` is short for `vnicctl partition list`, and `vnicctl rm NAME...` for
    `vnicctl partition remove`.

    `vnicctl --network NAME ...`, or VNICD_NETWORK=NAME, works on another network
    than the default one; see `vnicctl network`. VNICD_RUNTIME_DIR (default
    /run/vnicd) names the default one: those with different directories don't notice
    each other.
    """


def run(words: list[str]) -> int:
    """Runs one command line, or answers the shell's completion; the exit code."""
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(vnicctl, {}, NAME, COMPLETE_VARIABLE, instruction)
    meta: dict[str, Any] = {}
    try:
        with vnicctl.make_context(NAME, list(words), color=output.colour()) as context:
            meta = context.meta
            vnicctl.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:
        if wants_json(words) and not (output.META in meta and meta[output.META].is_printed):
            from vnicd.cli.errors import document

            with suppress(OSError):  # the line on standard error comes all the same
                output.print_json(document(error))
        raise
    return 0


def wants_json(words: list[str]) -> bool:
    """Whether a command line asks for JSON, also one that can't be understood otherwise."""
    own = words[: words.index("--")] if "--" in words else words
    if "--network" in own[:1]:
        own = own[2:]
    if next((word for word in own if not word.startswith("-")), "") == "exec":
        return False  # what it runs may have such an option
    pairs = zip(own, [*own[1:], ""], strict=False)
    return any(
        word in ("--json", "--format=json") or (word, then) == ("--format", "json") for word, then in pairs
    )
