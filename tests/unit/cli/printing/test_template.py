"""Templates of --format: fields, what they may look like, and what is wrong with a template."""

from __future__ import annotations

import pytest

from vnicd.cli.printing.template import Template

ROWS = [
    {
        "name": "blue",
        "pid": 7,
        "up": True,
        "rate": None,
        "addresses": ["10.0.0.1/24", "fd00::1/64"],
        "drops": {},
    },
    {"name": "green", "pid": 12, "up": False, "addresses": [], "drops": {"too_big": 3}, "own": [{"a": 1}]},
]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("{name}", ["blue", "green"]),
        ("{name:<6}|{pid:>3}", ["blue  |  7", "green | 12"]),
        (r"{name}\t{up}", ["blue\ttrue", "green\tfalse"]),
        ("{addresses}", ["10.0.0.1/24, fd00::1/64", "-"]),
        ("{addresses[0]} {addresses[1]}", ["10.0.0.1/24 fd00::1/64", "- -"]),
        ("{drops} {drops.too_big} {drops[too_big]:03d}", ["- - -  ", "too_big 3 3 003"]),
        ("{rate}/{rate:>4}", ["-/   -", "-/   -"]),
        ("{own[0].a}", ["-", "1"]),
        ("{{{name}}}", ["{blue}", "{green}"]),
        ("x", ["x", "x"]),
    ],
)
def test_lines(text: str, lines: list[str]) -> None:
    assert list(Template(text).lines(ROWS)) == lines


@pytest.mark.parametrize(
    "text", ["{", "}", "{}", "{name", "{name!r}", "{name:{pid}}", "{.name}", "{name[}", "{a..b}"]
)
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        Template(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{nam}", "there is no field nam; there are: name, pid, up, rate, addresses, drops, own"),
        ("{drops.storm}", "there is no field storm in drops; there are: too_big"),
        ("{name.x}", "there is no field x in name"),
        ("{name.__class__}", "there is no field __class__ in name"),
        ("{addresses[9]}", "there is no field 9 in addresses"),
        ("{name:d}", "name: 'd' is no width or alignment"),
        ("{name:>z}", "name: '>z' is no width or alignment"),
    ],
)
def test_a_field_that_there_is_not(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="^" + says.replace("[", r"\[")):
        list(Template(text).lines(ROWS))


def test_no_rows_have_no_fields() -> None:
    assert list(Template("{nam}").lines([])) == []
