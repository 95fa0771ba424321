"""The words of the vnicd command."""

from __future__ import annotations

import re

import pytest

from vnicd import __main__ as vnicd


def test_an_unknown_command_is_named_before_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert vnicd.run(["foo"]) == 2
    assert capsys.readouterr().err == f"vnicd: no such command 'foo'\n{vnicd.USAGE}\n"
    assert vnicd.run(["trace"]) == 2
    assert capsys.readouterr().err == f"{vnicd.USAGE}\n"


def test_the_usage_has_each_command() -> None:
    assert set(re.findall(r"^(?:Usage:|      ) vnicd (\w+)", vnicd.USAGE, re.MULTILINE)) == set(
        vnicd.COMMANDS
    )
