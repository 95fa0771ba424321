"""What an exception looks like to a user: one line, and an exit code."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import click

from vnicd.errors import Invalid, NotPermitted, Resources, VnicdError

_OS_ERRORS: dict[int, type[VnicdError]] = {
    errno.EPERM: NotPermitted,
    errno.EACCES: NotPermitted,
    errno.EMFILE: Resources,
    errno.ENFILE: Resources,
    errno.ENOMEM: Resources,
    errno.ENOSPC: Resources,
    errno.EDQUOT: Resources,
}


USAGE = "usage"
"""The code of an error in the words of a command line, which the hosting daemon knows nothing of."""


class NoSuchCommand(click.UsageError):
    """`hint` says what to do instead."""

    def __init__(self, name: str, hint: str, context: click.Context) -> None:
        super().__init__(f"no such command '{name}'", context)
        self.hint = hint


def line_and_code(error: Exception) -> tuple[str, int]:
    """The line for standard error, without the program's name, and the exit code."""
    known = as_vnicd_error(error)
    return " ".join(known.line().split()), known.exit_code


def raise_all(failures: Sequence[VnicdError]) -> None:
    """The last of them, the others are printed before; the exit code is that of the first. Nothing if there is none."""
    if not failures:
        return
    *earlier, last = failures
    for each in earlier:
        click.echo(f"vnicctl: {each.line()}", err=True)
    last.exit_code = failures[0].exit_code
    raise last


def document(error: Exception) -> dict[str, Any]:
    """What --json prints in place of the document that there would have been."""
    known = as_vnicd_error(error)
    return {"error": {"code": known.code, "message": known.message, "hint": known.hint}}


def as_vnicd_error(error: Exception) -> VnicdError:
    """An error with its code, message, hint and exit code, whatever raised it."""
    if isinstance(error, VnicdError):
        return error
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        return Invalid(*_usage(error))
    if isinstance(error, click.ClickException):
        known = VnicdError(*_usage(error))
        known.code, known.exit_code = USAGE, error.exit_code
        return known
    if isinstance(error, OSError):
        kind = _OS_ERRORS.get(error.errno or 0, VnicdError)
        return kind(os_reason(error))
    if isinstance(error, MemoryError):
        return Resources("out of memory")
    return VnicdError(f"internal error: {type(error).__name__}: {error}", "set VNICD_DEBUG=1 to see where")


def os_reason(error: OSError) -> str:
    """An OSError without its number: the file that it is about, if any, and what was wrong."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return reason
    return f"{error.filename}: {reason}"


def _usage(error: click.ClickException) -> tuple[str, str]:
    """(message, hint) of an error of click's, in our form."""
    if isinstance(error, NoSuchCommand):
        return error.message, error.hint
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        return _no_such_option(error, error.ctx)
    message = error.format_message().rstrip(".?")
    message = _wrong_value(error) or message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message, f"try: {context.command_path} --help" if context else ""


def _wrong_value(error: click.ClickException) -> str:
    """What a value must be that click could not read, if it is a number or a choice."""
    parameter = error.param if isinstance(error, click.BadParameter) else None
    if parameter is None or isinstance(error, click.MissingParameter):
        return ""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        *others, last = map(str, kind.choices)
        wanted = f"{', '.join(others)} or {last}" if others else last
    elif isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        wanted = "a whole number" if isinstance(kind, click.types.IntParamType) else "a number"
        wanted += " of seconds" if "SECONDS" in (parameter.metavar or "") else ""
        if isinstance(kind, click.IntRange | click.FloatRange) and kind.min is not None:
            wanted += f", {kind.min} " + ("or more" if kind.max is None else f"to {kind.max}")
    else:
        return ""
    name = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
    return f"{name} must be {wanted}"


def _no_such_option(error: click.NoSuchOption, context: click.Context) -> tuple[str, str]:
    name, alike = error.option_name, sorted(error.possibilities or ())
    if name == "--json" and context.parent is None:
        return "--json stands behind the command", f"as in: {context.command_path} status --json"
    if name == "--network" and context.parent is not None:
        root, command = context.find_root().command_path, context.command_path.partition(" ")[2]
        return "--network stands before the command", f"as in: {root} --network NAME {command}"
    hint = f"did you mean {' or '.join(alike)}?" if alike else f"try: {context.command_path} --help"
    return f"no such option {name}", hint
