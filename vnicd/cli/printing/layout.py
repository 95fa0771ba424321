"""Tables as lines of text that fit a terminal: nothing is cut, whatever its width is. Pure.

A table that is too wide for its terminal has its last column wrapped. Where that does not help, columns that do not fit
stand below their row, as `header: value`. A pipe has no width, and gets one line for each row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence

GAP = 2
"""Spaces between columns."""

INDENT = 6
"""Most spaces before what stands below a row."""

LEAST_ROOM = 24
"""Columns of a terminal that a text needs to be wrapped in, unless it is shorter or a list."""

NOTHING = "-"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Row = Sequence[str]
Paint = Callable[[str], str]
"""Gives a cell its colour; it is told the cell without the spaces around it."""


def plain(text: str) -> str:
    return text


def table(
    headers: Row,
    rows: Sequence[Row],
    right: Collection[str] = (),
    width: int | None = None,
    paint: Paint = plain,
    paint_header: Paint = plain,
) -> Iterator[str]:
    """The lines of rows below a header; the columns named in `right` hold numbers. `width` is the terminal's."""
    widths = natural([headers, *rows])
    aligned = [header in right for header in headers]
    room = None if width is None or total(widths) <= width else width - total(widths[:-1]) - GAP
    count = len(headers)
    if room is not None and room < least_room([headers[-1], *(row[-1] for row in rows)]):
        assert width is not None
        room, count = None, fitting(widths, width)
    yield from _lines(headers[:count], widths, aligned, room, paint_header)
    for row in rows:
        yield from _lines(row[:count], widths, aligned, room, paint)
        if count < len(headers):
            assert width is not None
            yield from _below(headers[count:], row[count:], min(widths[0] + GAP, INDENT), width)


def columns(rows: Sequence[Row], width: int | None = None, paint: Paint = plain) -> Iterator[str]:
    """The lines of rows that need no header; the last column wraps on a terminal that is too narrow."""
    widths = natural(rows)
    room = None
    if width is not None and total(widths) > width:
        room = max(width - total(widths[:-1]) - GAP, LEAST_ROOM)
    for row in rows:
        yield from _lines(row, widths, [False] * len(row), room, paint)


def size(text: str) -> int:
    """Columns of a terminal that a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def natural(rows: Sequence[Row]) -> list[int]:
    """The width of each column."""
    return [max(size(cell) for cell in column) for column in zip(*rows, strict=True)]


def total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * max(len(widths) - 1, 0)


def fitting(widths: Sequence[int], width: int) -> int:
    """How many columns, from the first on, fit; always one."""
    return max(1, *(count for count in range(len(widths) + 1) if total(widths[:count]) <= width))


def least_room(cells: Sequence[str]) -> int:
    """Columns of a terminal that these cells need to be wrapped in, and still be read."""
    return max(
        min(size(cell), max(LEAST_ROOM, longest(cell)) if not is_list(cell) else longest(cell))
        for cell in cells
    )


def longest(text: str) -> int:
    return max((size(piece) for piece in pieces(text)), default=0)


def is_list(text: str) -> bool:
    """Whether it is a list with commas, of items that stay whole, and no sentence."""
    items = text.split(", ")
    return len(items) > 1 and all(len(item.split()) <= 2 for item in items)


def pieces(text: str) -> list[str]:
    """What a line may be broken between: the items of a list, else words."""
    if is_list(text):
        *first, last = text.split(", ")
        return [*(f"{item}," for item in first), last]
    return text.split(" ")


def wrap(parts: Sequence[str], width: int) -> list[str]:
    """Lines of parts with a space between them; a part that is longer than a line is broken."""
    lines = [""]
    for part in parts:
        rest = part
        if lines[-1] and size(lines[-1]) + 1 + size(rest) <= width:
            lines[-1] += f" {rest}"
            continue
        if lines[-1]:
            lines.append("")
        while size(rest) > width:
            head = _head(rest, width)
            lines[-1] = head
            lines.append("")
            rest = rest[len(head) :]
        lines[-1] = rest
    return lines


def fold(text: str, width: int | None, indent: str = "  ") -> str:
    """A text with line breaks at blanks, so that lines fit a terminal; a word that is longer than a line stays whole.

    Colours in it take no room.
    """
    if width is None or len(text) <= width // 2:  # no letter is wider than two columns
        return text
    lines: list[str] = []
    first, *words = text.split(" ")
    line = first
    for word in words:
        longer = f"{line} {word}"
        if line.strip() and size(_COLOUR.sub("", longer)) > width:
            lines.append(line.rstrip())
            line = indent + word
        else:
            line = longer
    return "\n".join([*lines, line])


def _head(text: str, width: int) -> str:
    """As much of a text as fits; at least a character."""
    end = width
    while end > 1 and size(text[:end]) > width:
        end -= 1
    return text[: max(end, 1)]


def _lines(
    row: Row, widths: Sequence[int], right: Sequence[bool], room: int | None, paint: Paint
) -> Iterator[str]:
    """A row, in one line unless its last cell is wrapped into `room`."""
    *first, last = row
    wrapped = [last] if room is None else wrap(pieces(last), room)
    start = ""
    for cell, width, is_right in zip(first, widths, right, strict=False):
        space = " " * (width - size(cell))
        start += (space + paint(cell) if is_right else paint(cell) + space) + " " * GAP
    space = " " * (widths[len(first)] - size(last)) if right[len(first)] and room is None else ""
    yield (start + space + paint(wrapped[0])).rstrip()
    margin = " " * (total(widths[: len(first)]) + GAP if first else 0)
    for each in wrapped[1:]:
        yield (margin + each).rstrip()


def _below(headers: Row, row: Row, indent: int, width: int) -> Iterator[str]:
    """The cells of a row that have no place in it, each in one line if it fits; those that say nothing are left out."""
    lines = [""]
    for header, cell in zip(headers, row, strict=True):
        if cell in (NOTHING, ""):
            continue
        first, *others = wrap([f"{header.lower()}: {pieces(cell)[0]}", *pieces(cell)[1:]], width - indent)
        if not others and lines[-1] and size(lines[-1]) + GAP + size(first) <= width - indent:
            lines[-1] += " " * GAP + first
        else:
            lines += [first, *others]
    for line in filter(None, lines):
        yield (" " * indent + line).rstrip()
