"""The fabric file: TOML of any shape is a fabric that can be written and read again, or one clear line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fuzz.choices import Choices, damaged
from tests.fuzz.target import Target, Try
from tests.fuzz.targets.words import check_line, partition, uplink
from vnicd.errors import Invalid
from vnicd.spec import fabric_file

NAME = "fabric.toml"
TOKENS = (
    "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\r\n", " ", "#", '"', "'", '"""', "'''", "\\", "partitions",
    "web", "uplink", "nic", "mtu", "publish", "addresses", "1", "-1", "0x", "1e9", "inf", "nan", "true",
    "1979-05-27T07:32:00Z", "\\u00e9", "\\ud800", "[partitions.web]\n", 'nic = "eth1"\n', "9" * 4400, "é", "\0",
)  # fmt: skip


def make_tree(choices: Choices) -> dict[str, Any]:
    """A fabric of the form of the file."""
    tree: dict[str, Any] = {}
    if choices.one_in(3):
        tree["hugepages"] = choices.pick(("auto", "never", "require", choices.value()))
    if choices.one_in(3):
        tree["idle_timeout"] = choices.pick((1, 0.1, 60.0, choices.value()))
    if choices.one_in(3):
        tree["names"] = choices.pick((True, False, "local", choices.value()))
    if choices.one_in(3):
        tree["poll_us"] = choices.pick((0, 1000, choices.value()))
    if choices.one_in(2):
        tree["uplink"] = uplink(choices) if not choices.one_in(16) else choices.value()
    tree["partitions"] = {
        choices.pick(("web", "db", "a", "b-1", choices.text())): partition(choices)
        for _ in range(choices.below(4))
    }
    if choices.one_in(8):
        tree[choices.text()] = choices.value()
    return tree


def _toml(choices: Choices, value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key)} = {_toml(choices, each)}" for key, each in value.items())
            + "}"
        )
    if isinstance(value, list):
        gap = choices.pick((" ", "\n", "\n  # a note, with ] in it\n "))
        return "[" + gap + f",{gap}".join(_toml(choices, each) for each in value) + gap + "]"
    if isinstance(value, str) and choices.one_in(6) and "'''" not in value and value.isprintable():
        return f"'''{value}'''"
    return str(value).lower() if isinstance(value, float | bool) else json.dumps(value)


def _written(choices: Choices, tree: dict[str, Any]) -> str:
    """TOML in one of its many styles."""
    lines = [f"{json.dumps(k)} = {_toml(choices, v)}" for k, v in tree.items() if not isinstance(v, dict)]
    for key, value in tree.items():
        if not isinstance(value, dict):
            continue
        tables = value.items() if key == "partitions" else [("", value)]
        for name, table in tables:
            header = [json.dumps(key), *([json.dumps(name)] if key == "partitions" else [])]
            if choices.one_in(4) or not isinstance(table, dict):
                lines.insert(0, f"{' . '.join(header)} = {_toml(choices, table)}")
                continue
            lines.append(f"[ {' . '.join(header)} ]" if choices.one_in(2) else f"[{'.'.join(header)}]")
            lines += [f"{json.dumps(each)} = {_toml(choices, inner)}" for each, inner in table.items()]
    return choices.pick(("\n", "\r\n", "\n\n# note\n")).join(lines)


def _text(choices: Choices) -> str:
    kind = choices.below(8)
    if kind == 7:
        return "".join(choices.pick(TOKENS) for _ in range(choices.below(40)))
    text = _written(choices, make_tree(choices))
    if kind >= 5:
        text = damaged(choices, text.encode(errors="surrogatepass")).decode(errors="replace")
    return text


def _check(declared: fabric_file.Declared) -> None:
    again = fabric_file.parse(fabric_file.render(declared), NAME)
    assert again == declared, f"written and read again it is another: {fabric_file.render(declared)}"
    tree = json.loads(json.dumps(fabric_file.to_json(declared)))
    assert fabric_file.from_json(tree) == declared, f"as JSON it is another: {tree}"


def attempt(data: bytes) -> int:
    choices = Choices(data)
    text = _text(choices)
    try:
        declared = fabric_file.parse(text, NAME)
    except Invalid as error:
        check_line(error)
        place = re.match(rf"{NAME}:(\d+): ", error.line())
        assert place, f"no line is named: {error.line()}"
        assert 1 <= int(place[1]) <= text.count("\n") + 1, error.line()
        return 1
    _check(declared)
    return 1


def attempt_json(data: bytes) -> int:
    """A tree, as it comes by the control socket."""
    choices = Choices(data)
    tree = make_tree(choices) if not choices.one_in(8) else choices.value(5)
    try:
        declared = fabric_file.from_json(tree)
    except Invalid as error:
        check_line(error)
        return 1
    _check(declared)
    return 1


@contextmanager
def _opened() -> Iterator[Try]:
    yield attempt


@contextmanager
def _opened_json() -> Iterator[Try]:
    yield attempt_json


TARGETS = {
    "file": Target("TOML of any shape to the reader of fabric files", _opened, 300),
    "tree": Target("fabrics as JSON, as they come by the control socket", _opened_json, 300),
}
