"""The help of vnicctl."""

from __future__ import annotations

import click
import pytest

from tests.framework import reference
from vnicd.cli.app import vnicctl
from vnicd.cli.main import main


def test_no_line_of_a_list_of_commands_is_cut() -> None:
    groups = [context.parent for _, context, _ in reference.commands() if context.parent is not None]
    commands = [
        command
        for context in groups
        if isinstance(context.command, click.Group)
        for name in context.command.list_commands(context)
        if (command := context.command.get_command(context, name)) is not None
    ]
    assert len({command.name for command in commands}) > 20
    assert not [text for each in commands if (text := each.get_short_help_str(limit=60)).endswith("...")]


def test_options_that_are_only_refused_are_in_no_reference() -> None:
    found = vnicctl.get_command(click.Context(vnicctl), "partition")
    assert isinstance(found, click.Group)
    command = found.get_command(click.Context(found), "set")
    assert command is not None
    text = "\n".join(reference.options(command))
    assert "--rate" in text
    assert "--mac" not in text


@pytest.mark.parametrize("word", ["help", "version"])
def test_options_that_are_typed_as_commands(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err == f"vnicctl: no such command '{word}'; did you mean vnicctl --{word}?\n"
