"""What became of each test of a run, from JUnit's XML or from lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

Outcomes = dict[str, str]
"""By a test's name: passed, skipped, failure or error."""


def read(report: Path) -> Outcomes:
    """All that the report has; a run that did not come to its end has fewer."""
    if not report.exists():
        return {}
    text = report.read_text(errors="replace")
    return _of_xml(text) if text.lstrip().startswith("<") else _of_lines(text)


def _of_lines(text: str) -> Outcomes:
    found = {}
    for line in text.splitlines():
        try:
            name, outcome = json.loads(line)
        except ValueError:
            continue
        if name:
            found[name] = outcome
    return found


def _of_xml(text: str) -> Outcomes:
    found = {}
    for case in ElementTree.fromstring(text).iter("testcase"):
        ends = (end for end in ("failure", "error", "skipped") if case.find(end) is not None)
        found[f"{case.get('classname', '')}::{case.get('name', '?')}"] = next(ends, "passed")
    return found


def differing(plain: Outcomes, direct: Outcomes) -> dict[str, str]:
    """The tests that pass without the library and not with it, and what becomes of them there."""
    passed = [name for name, outcome in plain.items() if outcome == "passed"]
    return {name: direct.get(name, "missing") for name in passed if direct.get(name) != "passed"}


def count(outcomes: Mapping[str, str], wanted: str = "passed") -> int:
    return sum(outcome == wanted for outcome in outcomes.values())
