"""vnicctl stats: what each port sent, received and dropped."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click

from vnicd.cli import output, units
from vnicd.cli.client import call
from vnicd.cli.params import HOST, name_argument, output_options
from vnicd.errors import VnicdError

HEADERS = ("NAME", "SENT FRAMES", "SENT BYTES", "RECEIVED FRAMES", "RECEIVED BYTES", "DROPS")
TAP_COUNTERS = ("tap_rx_frames", "tap_rx_bytes", "tap_tx_frames", "tap_tx_bytes")
"""What the TAP hands over is what the partition sent, and the other way round."""


@click.command()
@name_argument(required=False)
@output_options(watch=True)
def stats(name: str | None, as_json: bool) -> None:
    """Show what each port sent, received and dropped.

    With a NAME, all counters of that port: tap_rx is what the partition sends, tap_tx
    what it receives; see docs/reference/counters.md.

    \b
    Examples:
      vnicctl stats
      vnicctl stats blue --watch 1
      vnicctl stats blue --json | jq '.ports[0].drops'
    """
    data = call("stats", {"name": name} if name else {})
    output.emit(data, as_json, _show_one if name else _show_all)


def _show_all(data: dict[str, Any]) -> None:
    rows = [
        [port["name"], *(_counter(port, name) for name in TAP_COUNTERS), units.drops(port["drops"])]
        for port in data["ports"]
    ]
    output.table(HEADERS, rows, right=HEADERS[1:5])


def _show_one(data: dict[str, Any]) -> None:
    for port in data["ports"]:
        rows = [[name, units.count(value)] for name, value in port["counters"].items()]
        output.table(("COUNTER", "VALUE"), rows, right=("VALUE",))
        dropped = [[reason, units.count(value)] for reason, value in port["drops"].items() if value]
        if dropped:
            click.echo()
            output.table(("DROPPED FOR", "FRAMES"), dropped, right=("FRAMES",))
    if sys.stdout.isatty() and [port["name"] for port in data["ports"]] != [HOST]:
        _tell_of_uplink()


def _tell_of_uplink() -> None:
    """Frames of partitions that the uplink drops are counted for the host."""
    with suppress(VnicdError):  # it is a remark only
        uplink = call("uplink.show")["uplink"]
        dropped = sum(uplink["drops"].values()) if uplink is not None else 0
        if dropped:
            output.note(
                f"the uplink has dropped {units.count(dropped)} frames in all: see vnicctl stats host"
            )


def _counter(port: dict[str, Any], name: str) -> str:
    value = port["counters"].get(name, 0)
    return units.size(value) if name.endswith("_bytes") else units.count(value)
