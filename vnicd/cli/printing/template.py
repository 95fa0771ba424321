"""Templates of --format: fields of JSON rows in a text of the user's, as in '{name} {addresses}'. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import Formatter
from typing import Any

from vnicd.errors import printable

NOTHING = "-"
"""Stands for a value that a row does not have."""

_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[[^\[\]]+\])*")
_STEP = re.compile(r"[^.\[\]]+")

_ABSENT = object()


class Template:
    """ValueError when the text is no template, or when it names a field that the rows do not have."""

    def __init__(self, text: str) -> None:
        self.parts: list[tuple[str, list[str], str]] = []
        """The text before a field, the steps to the field (none at the end), and how it is to be formatted."""
        for literal, field, spec, conversion in Formatter().parse(
            text.replace("\\t", "\t").replace("\\n", "\n")
        ):
            if field is not None and not _PATH.fullmatch(field):
                raise ValueError(
                    "a field is a name in braces, as in {name}" if not field else f"no field: {{{field}}}"
                )
            if conversion or "{" in (spec or ""):
                raise ValueError(f"a field can't be written so: {{{field}}}")
            self.parts.append((literal, _STEP.findall(field or ""), spec or ""))

    def lines(self, rows: Sequence[Any]) -> Iterator[str]:
        """A line for each row."""
        for _, steps, _ in self.parts:
            if steps and rows and all(_get(row, steps) is _ABSENT for row in rows):
                raise ValueError(_unknown(steps, rows))
        for row in rows:
            yield "".join(literal + self._value(row, steps, spec) for literal, steps, spec in self.parts)

    def _value(self, row: Any, steps: list[str], spec: str) -> str:
        if not steps:
            return ""
        value = _get(row, steps)
        if value is None or value is _ABSENT:
            width = re.match(r"([<>^]?)0*(\d+)", spec)
            return format(NOTHING, "".join(width.groups()) if width else "")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        try:
            return format(value if is_number else text_of(value), spec)
        except ValueError as error:
            raise ValueError(f"{'.'.join(steps)}: {spec!r} is no width or alignment") from error


def text_of(value: Any) -> str:
    """A value of a JSON document as a word of a line."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key} {text_of(each)}" for key, each in value.items()) or NOTHING
    if isinstance(value, list):
        return ", ".join(text_of(each) for each in value) or NOTHING
    return printable(str(value)) or NOTHING


def _get(row: Any, steps: Sequence[str]) -> Any:
    """What is at the end of these steps through objects and lists."""
    for step in steps:
        if isinstance(row, dict) and step in row:
            row = row[step]
        elif isinstance(row, list) and step.isdecimal() and int(step) < len(row):
            row = row[int(step)]
        else:
            return _ABSENT
    return row


def _unknown(steps: Sequence[str], rows: Sequence[Any]) -> str:
    """The first step that leads nowhere, and those that there are instead."""
    at = 0
    while any(_get(row, steps[: at + 1]) is not _ABSENT for row in rows):
        at += 1
    places = [place for row in rows if isinstance(place := _get(row, steps[:at]), dict)]
    known = list(dict.fromkeys(key for place in places for key in place))
    where = f" in {'.'.join(steps[:at])}" if at else ""
    there = f"; there are: {', '.join(known)}" if known else ""
    return f"there is no field {steps[at]}{where}{there}"
