"""vnicctl down: stops the hosting daemon and all partitions, and takes away what is left of dead ones."""

from __future__ import annotations

import click

from vnicd.cli.fabrics import ending, networks
from vnicd.cli.fabrics.stopping import take_down
from vnicd.config import Paths
from vnicd.errors import NotRunning

MOST_NAMED = 8
"""Processes of a namespace that are named."""


@click.command()
@click.option("--all", "is_all", is_flag=True, help="End all networks, too.")
def down(is_all: bool) -> None:
    """Stop the fabric, and remove all that it made.

    All partitions go, with the namespaces that vnicd made for them; attached ones
    stay. Programs in them are not ended, but have no interface any more. It also cleans
    up after daemons that were killed, also if the files of the fabric were deleted
    after that.

    Other networks go on, unless --all ends them as well. They stay declared, and
    `vnicctl up` starts them again; `vnicctl network remove` forgets them.

    \b
    Examples:
      vnicctl down
      vnicctl down --all
      vnicctl --network lab down
    """
    paths = Paths.from_environment()
    names = [] if paths.network else networks.names()
    ended = [name for name in names if is_all and ending.end(paths.of_network(name))]
    try:
        running = take_down()
    except NotRunning:
        if not ended:
            raise
        running = {}
    click.echo(f"network {paths.network} is down" if paths.network else "vnicd is down")
    for name, pids in running.items():
        click.echo(_left(name, pids))
    if ended:
        click.echo(f"these networks are down, too: {', '.join(ended)}")
    elif going := networks.going(names):
        click.echo(f"these networks go on: {', '.join(going)}; to end them, too: vnicctl down --all")


def _left(name: str, pids: list[int]) -> str:
    """That programs go on in the namespace of a partition, which has lost its name."""
    if len(pids) == 1:
        return f"1 program still runs in what was {name} (pid {pids[0]})"
    shown = ", ".join(str(pid) for pid in pids[:MOST_NAMED])
    more = f" and {len(pids) - MOST_NAMED} more" if len(pids) > MOST_NAMED else ""
    return f"{len(pids)} programs still run in what was {name} (pids {shown}{more})"
