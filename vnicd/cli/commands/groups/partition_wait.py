"""vnicctl partition wait: returns when partitions are as a script needs them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from vnicd.cli.client import alike, call
from vnicd.cli.params import Seconds, names_argument
from vnicd.cli.spinner import Spinner
from vnicd.config import Paths
from vnicd.errors import NotFound, NotRunning, TimedOut
from vnicd.protocol.control import DEFAULT_TIMEOUT

UP, DOWN, REMOVED = "up", "down", "removed"

LOOK_EVERY_S = 0.2


@click.command()
@names_argument()
@click.option(
    "--until",
    type=click.Choice([UP, DOWN, REMOVED]),
    metavar="up|down|removed",
    default=UP,
    show_default=True,
    help="The state to wait for.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0),
    metavar="SECONDS",
    help="Give up after so long, with exit code 13; by default never.",
)
def wait(names: tuple[str, ...], until: str, timeout: float | None) -> None:
    """Wait until all of these partitions are up, down or removed.

    `up` means that a partition's daemon serves it, `down` that none does. While the
    hosting daemon is restarted the waiting goes on. An unknown name is an error (5),
    but for --until removed, where it is removed already.

    \b
    Examples:
      vnicctl partition wait blue green --timeout 30
      vnicctl partition wait web --until removed
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    seen = False
    with Spinner() as spinner:
        while True:
            states = _states(has_answered=seen, deadline=deadline)
            missing = list(names) if states is None else _missing(names, until, states)
            if not missing:
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(_late(missing, until, timeout or 0, states), "see: vnicctl doctor")
            seen = True
            spinner.say(f"Waiting until {', '.join(missing)}: {until}")
            time.sleep(LOOK_EVERY_S)


def _states(has_answered: bool, deadline: float | None) -> dict[str, str] | None:
    """The state of each partition; None while the hosting daemon is away, and no partition if the fabric is down."""
    left = DEFAULT_TIMEOUT if deadline is None else max(deadline - time.monotonic(), LOOK_EVERY_S)
    try:
        partitions = call("partition.list", timeout=min(left, DEFAULT_TIMEOUT))["partitions"]
        return {each["name"]: each["state"] for each in partitions}
    except TimedOut:
        return None
    except NotRunning:
        if not has_answered:
            raise
        return None if Paths.from_environment().state.exists() else {}


def _missing(names: Sequence[str], until: str, states: dict[str, str]) -> list[str]:
    """The partitions that are not yet as they should be; NotFound when they never can be."""
    unknown = [name for name in names if name not in states]
    if unknown and until != REMOVED:
        hint = alike(unknown[0], states) or "list them with: vnicctl partition list"
        raise NotFound(f"there is no partition {unknown[0]}", hint)
    if until == REMOVED:
        return [name for name in names if name in states]
    return [name for name in names if (states[name] == "up") is (until == DOWN)]


def _late(missing: Sequence[str], until: str, timeout: float, states: dict[str, str] | None) -> str:
    if states is None:
        return f"the hosting daemon did not answer in {timeout:g} s"
    told = ", ".join(f"{name} is {states[name]}" for name in missing)
    return f"not {until} in {timeout:g} s: {told}"
