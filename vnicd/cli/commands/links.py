"""vnicctl links: how each pair of ports talks, and how much."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import output, units
from vnicd.cli.client import call
from vnicd.cli.params import output_options

HEADERS = ("FROM", "TO", "PATH", "STATE", "PAGES", "FRAMES", "BYTES", "WAKEUPS", "DROPS")
NUMBERS = ("PAGES", "FRAMES", "BYTES", "WAKEUPS")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also pairs that have no link and no traffic.")
@output_options(watch=True)
def links(everything: bool, as_json: bool) -> None:
    """Show the path of each pair of ports: direct or by relay.

    One line for each direction, since each is a ring of its own. The JSON document
    has every pair.

    \b
    Examples:
      vnicctl links
      vnicctl links --all
      vnicctl links --json | jq '.links[] | {ports, path}'
    """
    data = call("links")
    ways = [
        {**pair, **way}
        for pair in data["links"]
        if everything or _matters(pair)
        for way in pair["directions"]
    ]
    output.emit(data, as_json, lambda data: _show(data["links"], everything), rows=ways)


def _show(pairs: list[dict[str, Any]], everything: bool) -> None:
    shown = [pair for pair in pairs if everything or _matters(pair)]
    output.table(HEADERS, [row for pair in shown for row in _rows(pair)], right=NUMBERS)
    hidden = len(pairs) - len(shown)
    if hidden:
        noun = "pair" if hidden == 1 else "pairs"
        output.note(f"{hidden} {noun} without link and traffic hidden; --all shows them")


def _matters(pair: dict[str, Any]) -> bool:
    traffic = any(way["frames"] or any(way["drops"].values()) for way in pair["directions"])
    return traffic or pair["state"] != "none"


def _rows(pair: dict[str, Any]) -> list[list[str]]:
    return [
        [
            way["from"],
            way["to"],
            units.word(pair["path"]),
            units.word(pair["state"]),
            units.size(pair["page_size"]),
            units.count(way["frames"]),
            units.size(way["bytes"]),
            units.count(way["wakeups"]),
            units.drops(way["drops"]),
        ]
        for way in pair["directions"]
    ]
