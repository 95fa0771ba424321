"""Tables fit the terminal, whatever is in them, and lose nothing."""

from __future__ import annotations

import re
from textwrap import dedent

from hypothesis import given
from hypothesis import strategies as st

from vnicd.cli.printing import layout

HEADERS = ("NAME", "PID", "MAC", "ADDRESSES")
ROWS = [
    ("blue", "7", "02:00:00:00:00:01", "10.77.0.1/24, fd00:77::1/64"),
    ("green", "12345", "02:00:00:00:00:02", "-"),
]

cells = st.text(st.sampled_from("ab, 漢é-"), max_size=50)


def shown(width: int | None) -> str:
    return "\n".join(layout.table(HEADERS, ROWS, ("PID",), width)) + "\n"


def test_a_wide_terminal_and_a_pipe_have_a_line_for_each_row() -> None:
    expected = dedent("""\
        NAME     PID  MAC                ADDRESSES
        blue       7  02:00:00:00:00:01  10.77.0.1/24, fd00:77::1/64
        green  12345  02:00:00:00:00:02  -
        """)
    assert shown(None) == shown(60) == shown(200) == expected


def test_the_last_column_is_wrapped_between_the_items_of_a_list() -> None:
    assert shown(50) == dedent("""\
        NAME     PID  MAC                ADDRESSES
        blue       7  02:00:00:00:00:01  10.77.0.1/24,
                                         fd00:77::1/64
        green  12345  02:00:00:00:00:02  -
        """)


def test_what_has_no_room_stands_below_its_row() -> None:
    assert shown(40) == dedent("""\
        NAME     PID  MAC
        blue       7  02:00:00:00:00:01
              addresses: 10.77.0.1/24,
              fd00:77::1/64
        green  12345  02:00:00:00:00:02
        """)


def test_the_second_column_of_facts_hangs() -> None:
    rows = [("warn", "hugepages", "none of the 2 MiB pages is free at the moment"), ("", "", "-> free some")]
    assert "\n".join(layout.columns(rows, 45)) == "\n".join(
        [
            "warn  hugepages  none of the 2 MiB pages is",
            "                 free at the moment",
            "                 -> free some",
        ]
    )


def test_wide_letters_take_two_columns() -> None:
    lines = list(layout.table(("REASON", "X"), [("漢字", "1"), ("abcd", "2")]))
    assert lines[1:] == ["漢字    1", "abcd    2"]


@given(st.lists(st.tuples(cells, cells, cells), max_size=4), st.integers(8, 60))
def test_nothing_is_cut_and_no_line_is_too_long(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = list(layout.table(("A", "B", "C"), rows, ("B",), width))
    widest_first = max([1, *(layout.size(first) for first, _, _ in rows)])
    assert all(layout.size(line) <= max(width, widest_first) for line in lines)
    told = re.sub(r"[\s]", "", "".join(lines))
    for row in rows:
        for cell in row:
            if cell.strip() and cell != "-":
                assert set(cell.replace(" ", "")) <= set(told)
    letters = sum(cell.count("漢") for row in rows for cell in row)
    assert told.count("漢") == letters
    assert lines[0].strip()
    assert all(line == line.rstrip() for line in lines)


def test_a_text_is_folded_at_blanks() -> None:
    assert layout.fold("an address that exists already", None) == "an address that exists already"
    assert layout.fold("an address that exists already", 20) == "an address that\n  exists already"
    assert layout.fold("see /a/path/that/is/longer/than/a/line now", 12) == (
        "see\n  /a/path/that/is/longer/than/a/line\n  now"
    )
    assert layout.fold("\x1b[31m+ partition web\x1b[0m", 15) == "\x1b[31m+ partition web\x1b[0m"
    assert layout.fold("    deeper than that", 12) == "    deeper\n  than that"
