"""vnicctl exec: becomes a command that runs in a partition's namespace."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from vnicd.cli import library
from vnicd.cli.client import call
from vnicd.cli.errors import line_and_code
from vnicd.cli.params import partition_names
from vnicd.config import Paths
from vnicd.errors import VnicdError

FAILED, CANNOT_RUN, NOT_FOUND = 125, 126, 127
"""Exit codes of ours, out of the way of a command's own: as env, docker and the shells have them."""


_OWN_OPTIONS = ("--direct", "-i", "-t", "-it", "-ti", "--interactive", "--tty")
"""Options of vnicctl that may also stand right behind NAME: no program is called that."""


class _Exec(click.Command):
    """A command whose own errors, usage included, cannot be taken for those of what it runs."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)
        except click.UsageError as error:
            raise _failure(line_and_code(error)[0], FAILED) from error


def _completion(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Programs for the command's first word, then files."""
    from click.shell_completion import CompletionItem

    words = [word for word in context.params.get("command") or () if word not in ("--", *_OWN_OPTIONS)]
    if words or "/" in incomplete or not incomplete:
        return [CompletionItem(incomplete, type="file")]
    found: set[str] = set()
    for directory in os.get_exec_path():
        with contextlib.suppress(OSError):
            found.update(path.name for path in Path(directory).iterdir() if path.name.startswith(incomplete))
    return sorted(found)


@click.command(
    name="exec",
    cls=_Exec,
    context_settings={"allow_interspersed_args": False},  # from NAME on, all words are the command's
    options_metavar="[-it] [--direct]",
)
@click.option("-i", "--interactive", is_flag=True, expose_value=False, help="Accepted, as docker has it.")
@click.option("-t", "--tty", is_flag=True, expose_value=False, help="Accepted, as docker has it.")
@click.option(
    "--direct", is_flag=True, help="Its TCP connections to other partitions skip the protocol stack."
)
@click.argument("name", shell_complete=partition_names)
@click.argument(
    "command",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="-- COMMAND...",
    shell_complete=_completion,
)
def exec_(direct: bool, name: str, command: tuple[str, ...]) -> None:
    """Run a command in a partition's namespace.

    The command has the terminal and the input of vnicctl, so -i and -t change nothing.
    The exit code and signals are the command's own; 127 when there is no such
    command, 126 when it can't be run, 125 when vnicctl itself fails.

    With --direct, before NAME or right after it, the command's TCP connections with
    programs of other partitions that were started so carry their bytes through shared
    memory. See: vnicctl sockets

    \b
    Examples:
      vnicctl exec blue -- ping -c 3 green
      vnicctl exec -it blue bash
      vnicctl exec blue --direct -- redis-server --bind 10.77.0.1
    """
    words = command
    while words[:1] and words[0] in _OWN_OPTIONS:
        direct, words = direct or words[0] == "--direct", words[1:]
    is_separated = words[:1] == ("--",)
    if is_separated:
        words = words[1:]
    try:
        if words and not is_separated and words[0].startswith("-"):
            raise VnicdError(f"no such option {words[0]}", "try: vnicctl exec --help")
        if not any(words[:1]):
            raise VnicdError("missing the command to run", f"for example: vnicctl exec {name} -- bash")
        preload = library.preload(os.environ) if direct else None
        _enter(_path_to(call("partition.show", {"name": name})))
        if preload is not None:
            os.environ[library.PRELOAD] = preload
    except Exception as error:
        raise _failure(line_and_code(error)[0], FAILED) from error
    _become(words)


def _path_to(partition: dict[str, Any]) -> str:
    """Of its namespace. The path that somebody else's was given by may lead to a stranger's by now."""
    path, inode = str(partition["netns"]), partition.get("netns_inode")
    if inode is None:
        return path
    processes = (f"/proc/{pid}/ns/net" for pid in os.listdir("/proc") if pid.isdecimal())  # noqa: PTH208
    for each in (path, *processes):
        with contextlib.suppress(OSError):
            if os.stat(each).st_ino == inode:  # noqa: PTH116
                return each
    raise VnicdError(f"the namespace of partition {partition['name']} can't be reached: no process is in it")


def _enter(path: str) -> None:
    # The extension is not for the commands that only ask the host.
    from vnicd.native.netns import enter

    try:
        enter(path)
        _lay_over(path)
    except PermissionError as error:
        raise VnicdError(f"not allowed to enter the namespace {path}", "run vnicctl as root") from error
    except FileNotFoundError as error:
        raise VnicdError(f"the namespace {path} is gone") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        text = f"{path} is no namespace here: it was made in another mount namespace, as of ip netns exec"
        raise VnicdError(text, "use nsenter --net=/run/netns/NAME instead of ip netns exec NAME") from error


def _lay_over(path: str) -> None:
    """Put the fabric's files for all partitions in the place of those in /etc, unless the namespace has its own.

    A namespace that was given by a path other than that of its name has none.
    """
    own = Path("/etc/netns", Path(path).name)
    for file in Paths.from_environment().etc.glob("*.conf"):
        if not (own / file.name).exists() and Path("/etc", file.name).exists():
            from vnicd.native.netns import bind

            bind(str(file), f"/etc/{file.name}")


def _become(words: tuple[str, ...]) -> NoReturn:
    # Python ignores these two, and what is ignored stays so in the command.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execvp(words[0], words)
    except FileNotFoundError as error:
        raise _failure(f"{words[0]}: command not found", NOT_FOUND) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _failure(f"cannot run {words[0]}: {reason}", CANNOT_RUN) from error


def _failure(line: str, exit_code: int) -> VnicdError:
    error = VnicdError(line)
    error.exit_code = exit_code
    return error
