"""Command groups whose commands are imported when they are used, and that know aliases."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import click

from vnicd.cli.errors import NoSuchCommand


class Group(click.Group):
    """`lazy` maps names to "module:attribute", `aliases` maps other words to names.

    `short_forms` are words that mean commands of other groups; no help lists them. `foreign_words` are no commands, and
    lead to them.
    """

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
        short_forms: Mapping[str, str] | None = None,
        foreign_words: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **{**more, "no_args_is_help": False})
        self.lazy = lazy or {}
        self.aliases = aliases or {}
        self.short_forms = short_forms or {}
        self.foreign_words = foreign_words or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self.lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self.aliases.get(cmd_name, cmd_name)
        target = self.lazy.get(name) or self.short_forms.get(name)
        if target is None:
            return super().get_command(ctx, name)
        module, attribute = target.split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and not ctx.resilient_parsing and not self.get_command(ctx, args[0]):
            raise NoSuchCommand(args[0], self._instead_of(ctx, args[0]), ctx)
        name, command, rest = super().resolve_command(ctx, args)
        for parameter in command.params if command is not None else ():
            if isinstance(parameter, click.Option) and parameter.opts == ["--watch"]:
                rest = spelled_out("--watch", str(parameter.flag_value), rest)
        return name, command, rest

    def _instead_of(self, ctx: click.Context, word: str) -> str:
        """What to type instead of a command that there is not."""
        root = ctx.find_root()
        if isinstance(root.command, Group) and root.command.has(root, word):
            found = [f"{root.command_path} {word}"]
        else:
            found = [f"{ctx.command_path} {each}" for each in self._alike(ctx, word)]
        return f"did you mean {' or '.join(found)}?" if found else f"try: {ctx.command_path} --help"

    def _alike(self, ctx: click.Context, word: str) -> list[str]:
        if word in self.foreign_words:
            return [self.foreign_words[word]]
        groups = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        found = [
            f"{name} {word}" for name, group in groups if isinstance(group, Group) and group.has(ctx, word)
        ]
        if found:
            return found
        known = get_close_matches(word, [*self.list_commands(ctx), *self.aliases], 1)
        return [self.aliases.get(each, each) for each in known]

    def has(self, ctx: click.Context, word: str) -> bool:
        """Whether a word is one of its commands."""
        return self.get_command(ctx, word) is not None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                words = [name, *(alias for alias, meant in self.aliases.items() if meant == name)]
                rows.append((", ".join(words), command.get_short_help_str(limit=60)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def spelled_out(option: str, value: str, words: list[str]) -> list[str]:
    """The words of a command line, with `value` for an option that has none of its own.

    A number may follow it; click would take whatever follows, such as a NAME.
    """
    return [
        f"{option}={value}" if word == option and not _is_number(following) else word
        for word, following in zip(words, [*words[1:], ""], strict=False)
    ]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
