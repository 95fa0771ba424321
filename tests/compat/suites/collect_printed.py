"""Runs the tests of an interpreter and writes a line of JSON for each, by what they print.

`collect_printed.py REPORT perl FILE... [--only TESTS...]` reads TAP, which each file prints by itself;
`collect_printed.py REPORT ruby FOLDER... [--only TESTS...]` what the test runner of Ruby's source prints.
A test is named FILE::NUMBER, or CLASS#METHOD. It runs in the folder of the source, by nothing but the standard library.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

FILE_TIMEOUT_S = 60
RUBY_TIMEOUT_S = 300

TAP = re.compile(r"^(not )?ok (\d+)(.*)")
RUBY = re.compile(r"^\[ *\d+/\d+\] ([\w:]+#\S+) = ", re.MULTILINE)
RUBY_END = re.compile(r"^ *\d+\) (Failure|Error|Skipped):\n([\w:]+#[^\s:]+)", re.MULTILINE)
RUBY_ENDS = {"Failure": "failure", "Error": "error", "Skipped": "skipped"}
"""What is told behind all tests of those that did not pass."""


def printed(argv: Sequence[str], cwd: Path, limit: float) -> str:
    """All that a command prints; what it printed so far when it is not over in time."""
    with subprocess.Popen(
        argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            return process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0]


def perl(files: Sequence[str], only: Sequence[str]) -> Iterator[tuple[str, str]]:
    wanted = {name.partition("::")[0] for name in only}
    for file in files:
        if wanted and file not in wanted:
            continue
        folder, _, name = file.partition("/t/")
        for line in printed(["perl", "-I.", "-Ilib", f"t/{name}"], Path(folder), FILE_TIMEOUT_S).splitlines():
            if found := TAP.match(line):
                failed, number, rest = found.groups()
                outcome = "skipped" if re.search(r"# *(skip|todo)", rest, re.IGNORECASE) else "passed"
                yield f"{file}::{number}", "failure" if failed and outcome == "passed" else outcome


def ruby(folders: Sequence[str], only: Sequence[str]) -> Iterator[tuple[str, str]]:
    names = "|".join(sorted({name.rpartition("#")[2] for name in only}))
    chosen = ["-n", f"/^({names})$/"] if only else []
    text = printed(["ruby", "test/runner.rb", "-v", *chosen, *folders], Path.cwd(), RUBY_TIMEOUT_S)
    ends = {name: RUBY_ENDS[end] for end, name in RUBY_END.findall(text)}
    yield from ((name, ends.get(name, "passed")) for name in RUBY.findall(text))


def main(report: str, kind: str, words: list[str]) -> None:
    only: list[str] = []
    if "--only" in words:
        where = words.index("--only")
        words, only = words[:where], words[where + 1 :]
    file: TextIO
    with Path(report).open("w") as file:
        for name, outcome in {"perl": perl, "ruby": ruby}[kind](words, only):
            file.write(json.dumps([name, outcome]) + "\n")
            file.flush()


main(sys.argv[1], sys.argv[2], sys.argv[3:])
