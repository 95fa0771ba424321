"""What a partition's interface really has, beside what was declared: in tables a mark, and a line below for each."""

from __future__ import annotations

from typing import Any

import click

from vnicd.cli import output, units

MARK = "*"
"""Behind what is otherwise than declared."""

Port = dict[str, Any]


def cell(port: Port, key: str) -> str:
    """The `ifname`, `mac` or `mtu` that the interface of a port has, with a mark if it is to have another."""
    actual = port.get("actual") or {}
    text = str(actual.get(key) or port.get(key) or units.NONE)
    kinds = {"ifname": {"name", "down"}}.get(key, {key})
    return text + MARK if kinds & _kinds(port) else text


def listed(port: Port, key: str) -> str:
    """The `addresses` or `gateways` that were declared and are there, with a mark if others are not."""
    declared, actual = port.get(key) or [], port.get("actual")
    there = declared if actual is None else [each for each in declared if each in actual[key]]
    text = ", ".join(there) or units.NONE
    kinds = {"addresses": {"address"}, "gateways": {"route", "other route"}}[key]
    return text + MARK if kinds & _kinds(port) else text


def _kinds(port: Port) -> set[str]:
    return {each["kind"] for each in port.get("drift") or ()}


def state(port: Port) -> str:
    """Its state, and why it is not up."""
    return f"{port['state']}: {port['reason']}" if port.get("reason") else str(port["state"])


def compared(port: Port, key: str) -> str:
    """A fact of one partition, and what it is to be."""
    actual = port.get("actual") or {}
    declared = port[key]
    there = actual.get(key, declared)
    return str(declared) if there == declared else f"{there} (declared: {declared})"


def link_state(port: Port) -> str:
    """What is to be said behind the name of an interface that is set down."""
    return ", set down" if "down" in _kinds(port) else ""


def each_of(port: Port, key: str) -> list[str]:
    """The declared addresses or gateways, and which of them are gone."""
    actual = port.get("actual")
    return [
        each if actual is None or not actual["up"] or each in actual[key] else f"{each} (gone)"
        for each in port.get(key) or ()
    ]


def others(port: Port, key: str) -> list[str]:
    """Addresses or gateways of the interface that were not declared."""
    actual = port.get("actual") or {key: ()}
    return [each for each in actual[key] if each not in (port.get(key) or ())]


def show_notes(ports: list[Port]) -> None:
    """Below a table: what its marks mean, and why a partition is not up."""
    rows = [(port["name"], f"is {state(port)}") for port in ports if port.get("reason")]
    rows += [(port["name"], each["detail"]) for port in ports for each in port.get("drift") or ()]
    if rows:
        click.echo()
        output.columns(rows)
