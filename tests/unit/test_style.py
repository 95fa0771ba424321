"""The form of the source: each file opens with its purpose, stays small, and nothing waits by sleeping."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.framework.source_tree import ROOT, tracked
from vnicd.sockets import abi

MAX_LINES = 500  # a file holds one subject; none is cut for its length alone

C_LIKE = {".c", ".h"}
PYTHON_LIKE = {".py", ".pyx", ".pxd"}


def kind_of(path: Path) -> str:
    """python, c or shell; an empty text for files that are no source."""
    if path.suffix in PYTHON_LIKE:
        return "python"
    if path.suffix in C_LIKE:
        return "c"
    if path.suffix == ".sh":
        return "shell"
    with path.open("rb") as file:
        first = file.readline()
    if not first.startswith(b"#!"):
        return ""
    return "python" if b"python" in first else "shell"


def source_files() -> Iterator[Path]:
    for name in tracked():
        if kind_of(ROOT / name):
            yield ROOT / name


def offenders(check: Callable[[str, str], object], folders: tuple[str, ...] = ()) -> dict[str, object]:
    """What `check(text, kind)` objects to, by file; in these folders, or else everywhere."""
    found = {}
    for path in source_files():
        name = path.relative_to(ROOT)
        if (not folders or name.parts[0] in folders) and (bad := check(path.read_text(), kind_of(path))):
            found[str(name)] = bad
    return found


_OPENING = {
    "python": r'r?"""(.*?)(?:"""|$)|#\s*(.*)',
    "c": r"/\*+\s*(.*?)(?:\*/|$)|//\s*(.*)",
    "shell": r"#\s*(.*)",
}


def purpose(text: str, kind: str) -> str:
    """The line that a source opens with to say what it is for; an empty text when there is none."""
    lines = [line for line in text.splitlines() if not line.startswith(("#!", "# shellcheck", "# cython:"))]
    first = next((line for line in lines if line.strip()), "")
    found = re.match(_OPENING[kind], first)
    return next(filter(None, found.groups()), "").strip() if found else ""


def python_sleeps(source: str) -> list[int]:
    """Lines of a Python source that call, or import, a sleep; also in a program that is a text of it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="time" | "asyncio"), attr="sleep"):
                found.append(node.lineno)
            case ast.ImportFrom(module="time" | "asyncio", names=names):
                found += [node.lineno for alias in names if alias.name == "sleep"]
            case ast.Constant(value=str(text)) if "sleep" in text and "\n" in text:
                with suppress(SyntaxError):  # it is no program
                    found += [node.lineno + number - 1 for number in python_sleeps(text)]
    return found


_SHELL_SLEEP = re.compile(r"^[^#]*?(?:^|[;&|({]|\b(?:do|then|else)\b)\s*sleep\b")


def shell_sleeps(source: str) -> list[int]:
    return [number for number, line in enumerate(source.splitlines(), 1) if _SHELL_SLEEP.search(line)]


def test_each_file_opens_with_its_purpose() -> None:
    assert not offenders(lambda text, kind: len(purpose(text, kind).split()) < 3)


def test_files_are_small() -> None:
    assert not offenders(lambda text, _: max(0, len(text.splitlines()) - MAX_LINES))


def test_tests_and_scripts_do_not_sleep() -> None:
    def check(text: str, kind: str) -> list[int]:
        return {"python": python_sleeps, "shell": shell_sleeps}.get(kind, lambda _: [])(text)

    assert not offenders(check, ("tests", "scripts", ".ci"))


def test_the_checks_find_what_they_look_for() -> None:
    assert python_sleeps("import time\ntime.{}(1)\n".format("sleep")) == [2]
    assert python_sleeps("from time import monotonic, {}\n".format("sleep")) == [1]
    assert python_sleeps("import asyncio\nasync def f():\n    await asyncio.{}(0)\n".format("sleep")) == [3]
    assert python_sleeps('run("""\nimport time\ntime.{}(0)\n""")\n'.format("sleep")) == [3]
    assert not python_sleeps('import time\ntime.monotonic()\nrun("sleep", "60")\n')
    assert shell_sleeps("#!/bin/bash\n# sleep well\nsleep 1\nwhile x; do sleep 2; done\n") == [3, 4]
    assert not shell_sleeps("say asleep\nno_sleep 1\n")
    assert purpose('"""What it is for."""\nx = 1\n', "python") == "What it is for."
    assert purpose('#!/usr/bin/env python3\n"""What it is for.\n\nMore."""\n', "python") == "What it is for."
    assert purpose("#!/usr/bin/env bash\n# What it is for.\n", "shell") == "What it is for."
    assert purpose("/* What it is for.\n * More. */\n", "c") == "What it is for."
    assert not purpose("import os\n", "python")
    assert not purpose("#!/usr/bin/env bash\nset -e\n", "shell")
    assert not purpose("#include <stdio.h>\n", "c")


def test_guide_says_what_to_do_about_each_reason() -> None:
    """But of that a connection is direct."""
    table = (ROOT / "docs/guide/direct-sockets.md").read_text().partition("| reason | what to do |")[2]
    rows = {line.split("|")[1].strip() for line in table.partition("\n\n")[0].splitlines()[2:]}
    assert rows == {word for reason, word in abi.WORDS.items() if reason is not abi.Reason.DIRECT}
