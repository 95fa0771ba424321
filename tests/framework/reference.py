"""The reference of vnicctl, made from its commands, and what tables of docs/reference name.

`python -m tests.framework.reference` writes docs/reference/vnicctl.md anew.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

import click

from vnicd.cli.app import NAME, vnicctl
from vnicd.cli.groups import Group

FOLDER = Path(__file__).parents[2] / "docs/reference"
PAGE = FOLDER / "vnicctl.md"
COMMAND = "python -m tests.framework.reference"

WIDTH = 118

INTRODUCTION = f"""\
# vnicctl

`{COMMAND}` writes this page from the commands of vnicctl; a test compares the two.

Options stand before or behind the arguments; `exec` takes `--direct` before NAME or right after it. An error is one
line on standard error, and the command exits with one of the [exit codes](exit-codes.md). The
[environment](environment.md) says which fabric is meant."""


# ---------------------------------------------------------------------------------- the page of vnicctl


def leaves(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context, list[str]]]:
    """Each command that is no group, with its context and its aliases, in the order of the help."""
    aliases = group.aliases if isinstance(group, Group) else {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from leaves(command, inner)
        else:
            yield command, inner, [word for word, meant in aliases.items() if meant == name]


def commands() -> list[tuple[click.Command, click.Context, list[str]]]:
    """With the settings that they run with: a command keeps the help option that it was first asked for."""
    return list(leaves(vnicctl, click.Context(vnicctl, info_name=NAME, **vnicctl.context_settings)))


def options(command: click.Command) -> Iterator[str]:
    """A list item for each option, folded."""
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            signature = " ".join(
                [", ".join(param.opts), *([] if param.is_flag else [param.metavar or "VALUE"])]
            )
            default = f" Default: `{param.default}`." if param.show_default else ""
            yield folded(f"- `{signature}`: {param.help}{default}", "  ")


def folded(text: str, indent: str = "") -> str:
    return "\n".join(
        wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    )


def prose(text: str) -> Iterator[str]:
    r"""The paragraphs of a help text; those behind a \b line keep their line breaks."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.lstrip().startswith("\b"):
            yield from literal(paragraph.lstrip().removeprefix("\b").strip("\n"))
        else:
            yield folded(" ".join(paragraph.split()))


def literal(text: str) -> Iterator[str]:
    """Text with its line breaks; a first line that ends with a colon is the words before it."""
    first, _, rest = text.partition("\n")
    if rest and first.endswith(":"):
        yield first
        text = inspect.cleandoc(rest)
    yield "```\n" + text + "\n```"


def section(command: click.Command, context: click.Context, aliases: list[str]) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"## {context.command_path}"
    yield f"```\n{usage}\n```"
    if aliases:
        last = context.command_path.rpartition(" ")[0]
        yield f"Also: {', '.join(f'`{last} {alias}`' for alias in aliases)}."
    yield from prose(command.help or "")
    if found := list(options(command)):
        yield "\n".join(found)


def page() -> str:
    """The whole of vnicctl.md."""
    purpose, *rest = prose(vnicctl.help or "")
    parts = [INTRODUCTION, purpose, *rest]
    parts.append("Every command has `-h` and `--help`; `vnicctl --version` prints the version.")
    for command, context, aliases in commands():
        parts += section(command, context, aliases)
    return "\n\n".join(parts) + "\n"


# --------------------------------------------------------------------------------- what a document names


def part(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or above; AssertionError when there is none."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^(?!\1#)#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found[2]


def tables(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """The first cell of each table's header, and the cells of its rows."""
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        yield lines[0][0], lines[2:]


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the tables whose header begins with this."""
    return [row for first, lines in tables(text) if first == header for row in lines]


def words(text: str) -> list[str]:
    """What stands in a text in code font, blocks of code left out."""
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def named(text: str, header: str = "") -> list[str]:
    """What a text is about: words in code font in the first cells of its tables, and at the beginning of list items.

    With a `header` only of the tables that begin so.
    """
    if header:
        return [word for row in rows(text, header) for word in words(row[0])]
    found = [word for _, lines in tables(text) for row in lines for word in words(row[0])]
    items = re.findall(r"^- ((?:`[^`]+`(?:, )?)+)", text, re.MULTILINE)
    return sorted([*found, *(word for item in items for word in words(item))])


if __name__ == "__main__":
    PAGE.write_text(page())
