"""What an exception looks like to a user: one line, and an exit code."""

from __future__ import annotations

import errno

import click

from vnicd.errors import NotPermitted, Resources, VnicdError

_OS_EXIT_CODES = {
    errno.EPERM: NotPermitted.exit_code,
    errno.EACCES: NotPermitted.exit_code,
    errno.EMFILE: Resources.exit_code,
    errno.ENFILE: Resources.exit_code,
    errno.ENOMEM: Resources.exit_code,
    errno.ENOSPC: Resources.exit_code,
    errno.EDQUOT: Resources.exit_code,
}


def line_and_code(error: Exception) -> tuple[str, int]:
    """The line for standard error, without the program's name, and the exit code."""
    if isinstance(error, VnicdError):
        line, code = error.line(), error.exit_code
    elif isinstance(error, click.ClickException):
        line, code = _usage(error), error.exit_code
    elif isinstance(error, OSError):
        line, code = os_reason(error), _OS_EXIT_CODES.get(error.errno or 0, VnicdError.exit_code)
    elif isinstance(error, MemoryError):
        line, code = "out of memory", Resources.exit_code
    else:
        line = f"internal error: {type(error).__name__}: {error}; set VNICD_DEBUG=1 to see where"
        code = VnicdError.exit_code
    return " ".join(line.split()), code


def os_reason(error: OSError) -> str:
    """An OSError without its number: the file that it is about, if any, and what was wrong."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return reason
    return f"{error.filename}: {reason}"


def _usage(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        return _no_such_option(error, error.ctx)
    message = error.format_message().rstrip(".?")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; try: {context.command_path} --help" if context else message


def _no_such_option(error: click.NoSuchOption, context: click.Context) -> str:
    name, alike = error.option_name, sorted(error.possibilities or ())
    if name == "--json" and context.parent is None:
        return f"--json stands behind the command, as in: {context.command_path} status --json"
    hint = f"did you mean {' or '.join(alike)}?" if alike else f"try: {context.command_path} --help"
    return f"no such option {name}; {hint}"
