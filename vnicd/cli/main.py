"""Entry of vnicctl: runs the command line and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence

INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE


def main(args: Sequence[str] | None = None) -> int:
    """Runs vnicctl with `args`, or else with the process's own; the exit code."""
    words = sys.argv[1:] if args is None else list(args)
    _show_all_letters()
    code = _guarded(lambda: _run(words))
    if code == 0:
        # What print left in the buffer fails here, where it is reported, not in the interpreter's last flush.
        code = _guarded(_flush)
    _settle()
    return code


def _run(words: list[str]) -> int:
    # click and the commands are imported here so that Ctrl-C meanwhile is as quiet as later.
    from vnicd.cli.app import run

    return run(words)


def _guarded(step: Callable[[], int]) -> int:
    """The exit code of `step`; an exception from it is reported and becomes one."""
    try:
        return step()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:
        return _report(error)


def _report(error: Exception) -> int:
    from vnicd.cli.errors import line_and_code

    if isinstance(error, OSError) and error.filename is None and _is_of_output(error):
        error.filename = "standard output"
    line, code = line_and_code(error)
    if sys.stderr is None:
        return code
    with contextlib.suppress(OSError):
        if os.environ.get("VNICD_DEBUG") == "1":
            import traceback

            traceback.print_exception(error)
        line = f"vnicctl: {line}"
        if sys.stderr.isatty():
            from vnicd.cli.output import for_errors

            line = for_errors(line)
        print(line, file=sys.stderr)
    return code


def _is_of_output(error: OSError) -> bool:
    """Whether it comes from writing to standard output, which the kernel's error does not name."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and place.tb_frame.f_code.co_name in (_flush.__name__, "echo")


def _show_all_letters() -> None:
    """What the locale has no letters for is shown by its number, and ends nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> int:
    if sys.stdout is not None:
        sys.stdout.flush()
    return 0


def _settle() -> None:
    """Points a standard output that cannot be written at /dev/null, or the interpreter's end complains."""
    try:
        _flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, sys.stdout.fileno())
            os.close(sink)


if __name__ == "__main__":
    sys.exit(main())
